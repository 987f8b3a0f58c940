"""Recognizes held-out test pairs by content, in whatever task they occur, so that they are not trained on.

Two pairs have the same content if one of the 8 symmetries, applied to input and output alike, and one permutation of
the ten colours, black included, turn one into the other. Training augments with exactly these changes, so it would
show the held-out pair itself. Example, with 1x2 grids: [1 2] -> [2 1] equals [3 0] -> [0 3] (colours permuted) and
[2 1] -> [1 2] (mirrored), but not [1 2] -> [1 2]: no permutation changes the output alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels.symmetry import COLOURS, SYMMETRIES, apply_symmetry
from solver.common.checks import Grid, one_line
from solver.tasks.task import Pair, Task

COUNT_BASE = 1024  # more than the 30 * 30 cells of a grid, so that one number can hold two counts of cells

Outline = tuple[tuple[int, ...], bytes]


def canonical(pair: Pair) -> bytes:
    """Bytes that are equal exactly for pairs of the same content.

    The smallest, over the symmetries, of shapes and cells with colours numbered in order of first appearance.
    Raises ValueError for a pair whose output is unknown.
    """
    source, target = _grids(pair)
    return min(_numbered(apply_symmetry(source, s), apply_symmetry(target, s)) for s in range(SYMMETRIES))


def outline(pair: Pair) -> Outline:
    """A hash that is equal for pairs of the same content and rarely for others; ten times cheaper than `canonical`.

    The shapes, transposed or not, and the counts of each colour in input and output, sorted as colours are permuted.
    Raises ValueError for a pair whose output is unknown.
    """
    source, target = _grids(pair)
    counts = COUNT_BASE * np.bincount(source.ravel(), minlength=COLOURS)
    counts += np.bincount(target.ravel(), minlength=COLOURS)
    counts.sort()
    upright, lying = source.shape + target.shape, source.shape[::-1] + target.shape[::-1]
    return min(upright, lying), counts.tobytes()


@dataclass(frozen=True)
class HeldOut:
    """The name of a held-out test pair."""

    source: str
    task_id: str
    test: int  # from 0


def known_tests(source: str, tasks: Iterable[Task]) -> list[tuple[HeldOut, Pair]]:
    """The test pairs of `tasks` with known outputs, and their names."""
    return [
        (HeldOut(source, task.id, index), pair)
        for task in tasks
        for index, pair in enumerate(task.test)
        if pair.output is not None
    ]


class Guard:
    """Recognizes the held-out test pairs under any symmetry and colour permutation."""

    def __init__(self, held_out: Iterable[tuple[HeldOut, Pair]]) -> None:
        """Pairs of the same content go by the name of the first one. All outputs must be known."""
        self._outlines: set[Outline] = set()
        self._names: dict[bytes, HeldOut] = {}
        for name, pair in held_out:
            self._outlines.add(outline(pair))
            self._names.setdefault(canonical(pair), name)

    def find(self, pair: Pair) -> HeldOut | None:
        """The held-out test pair with the content of `pair`, if any. Raises ValueError if its output is unknown."""
        if outline(pair) not in self._outlines:  # the case for nearly every pair of a corpus
            return None
        return self._names.get(canonical(pair))


@dataclass(frozen=True)
class LeakedPair:
    """A pair of a training corpus that must not be trained on."""

    corpus: str
    task_id: str
    place: str  # in its task, as in JSON: train[0], test[1], or [17] of a list of pairs
    equals: HeldOut | None  # None: leaked by id alone, as it may be a test pair of a held-out task
    count: int = 1  # of a list that is dropped by id: all of its pairs


@dataclass
class LeakReport:
    """What the guard found and what was left out of the training tasks. A task is named (corpus, task id)."""

    guarded: list[tuple[str, int]]  # held-out source, number of its known test outputs
    allowed: bool  # leaks are counted and nothing is dropped
    shared_ids: list[tuple[str, str]] = field(default_factory=list)  # tasks of a full corpus with a held-out task's id
    pairs: list[LeakedPair] = field(default_factory=list)  # dropped, unless leaks are allowed
    emptied: list[tuple[str, str]] = field(default_factory=list)  # tasks of which no pair is left
    # tasks that occurred again and are part of their first occurrence, with the corpus of that
    duplicates: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def shared_content(self) -> tuple[tuple[str, str], ...]:
        """The training tasks with at least one pair that equals a held-out test pair."""
        return tuple(dict.fromkeys((pair.corpus, pair.task_id) for pair in self.pairs if pair.equals is not None))

    def document(self) -> dict[str, Any]:
        """The report, ready for JSON. "equals" is null for a leak by id alone."""
        return {
            "guarded_test_outputs": {one_line(name): count for name, count in self.guarded},
            "leaks_allowed": self.allowed,
            "shared_ids": len(self.shared_ids),
            "shared_content": len(self.shared_content),
            "pairs_dropped": 0 if self.allowed else sum(pair.count for pair in self.pairs),
            "leaked_pairs": [
                {
                    "corpus": one_line(pair.corpus),
                    "task": pair.task_id,
                    "pair": pair.place,
                    "equals": (held := pair.equals)
                    and {"source": one_line(held.source), "task": held.task_id, "test": held.test},
                }
                for pair in self.pairs
            ],
            "emptied_tasks": [{"corpus": one_line(corpus), "task": task} for corpus, task in self.emptied],
            "duplicates": [
                {"corpus": one_line(corpus), "task": task, "kept_in": one_line(kept_in)}
                for corpus, task, kept_in in self.duplicates
            ],
        }

    def lines(self) -> list[str]:
        """The report as a few lines of text."""
        guarded = ", ".join(f"{count} of {one_line(source)}" for source, count in self.guarded)
        by_content = sum(pair.equals is not None for pair in self.pairs)
        found = f"{by_content} pairs by content, {sum(pair.count for pair in self.pairs) - by_content} by id alone"
        if self.allowed:
            verdict = f"TRAINED ON, as leaks are allowed: {found}"
        else:
            verdict = f"dropped: {found}, and {len(self.emptied)} tasks without any other pair"
        return [
            f"held-out test outputs: {guarded or 'none'}",
            f"tasks that share an id with a held-out task: {len(self.shared_ids)}; "
            f"that hold a held-out test pair: {len(self.shared_content)}",
            verdict,
            f"duplicate tasks, kept once: {len(self.duplicates)}",
        ]


def _grids(pair: Pair) -> tuple[Grid, Grid]:
    if pair.output is None:
        raise ValueError("a pair without its output cannot be compared")
    return pair.input, pair.output


def _numbered(source: Grid, target: Grid) -> bytes:
    """Both shapes, then the cells of both grids row by row, colours numbered in order of first appearance."""
    cells = source.tobytes() + target.tobytes()
    number = bytearray(COLOURS)
    appearances = sorted((cells.find(colour), colour) for colour in range(COLOURS))  # -1: does not appear
    for rank, (_, colour) in enumerate((place, colour) for place, colour in appearances if place >= 0):
        number[colour] = rank
    return bytes(source.shape + target.shape) + cells.translate(bytes(number).ljust(256))
