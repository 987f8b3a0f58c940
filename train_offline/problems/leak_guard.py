"""Recognizes held-out test pairs by content, in whatever task they occur, so that they are not trained on.

Two pairs have the same content if one of the 8 symmetries, applied to input and output alike, and one permutation of
the ten colours, black included, turn one into the other. Training augments with exactly these changes, so it would
show the held-out pair itself. Example, with 1x2 grids: [1 2] -> [2 1] equals [3 0] -> [0 3] (colours permuted) and
[2 1] -> [1 2] (mirrored), but not [1 2] -> [1 2]: no permutation changes the output alone.

A demonstration of a held-out task that equals one of the task's own test pairs is no leak: every solver is given it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels.symmetry import COLOURS, SYMMETRIES, apply_symmetry
from solver.common.checks import Grid, one_line
from solver.tasks.task import Pair, StoredPairs, Task

MOST_LISTED = 5  # dropped pairs, and suspects, that the report prints; the manifest has all
AT_ONCE = 4096  # pairs, which bounds memory
COUNT_BASE = 1024  # more than the 30 * 30 cells of a grid, so that one number can hold two counts of cells

Outline = tuple[tuple[int, ...], bytes]


def canonical(pair: Pair) -> bytes:
    """Bytes that are equal exactly for pairs of the same content.

    The smallest, over the symmetries, of shapes and cells with colours numbered in order of first appearance.
    Raises ValueError for a pair whose output is unknown.
    """
    source, target = _grids(pair)
    return min(numbered(apply_symmetry(source, s), apply_symmetry(target, s)) for s in range(SYMMETRIES))


def outlines(pairs: Sequence[Pair]) -> Iterator[Outline]:
    """A hash of each pair that is equal for pairs of the same content and rarely for others; cheaper than `canonical`.

    The shapes, transposed or not, and the counts of each colour in input and output, sorted as colours are permuted.
    All outputs must be known.
    """
    for first in range(0, len(pairs), AT_ONCE):
        part = StoredPairs.of(pairs[first : first + AT_ONCE])
        counts = part.colour_counts()
        codes = np.sort(COUNT_BASE * counts[:, 0] + counts[:, 1], axis=1)
        for (a, b, c, d), code in zip(part.sizes.tolist(), codes, strict=True):
            yield min((a, b, c, d), (b, a, d, c)), code.tobytes()


def outline(pair: Pair) -> Outline:
    """That of one pair. Raises ValueError if its output is unknown."""
    return next(outlines([Pair(*_grids(pair))]))


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

    def __init__(
        self, held_out: Iterable[tuple[HeldOut, Pair]], demonstrations: Iterable[tuple[str, Pair]] = ()
    ) -> None:
        """`demonstrations`: those of the held-out tasks, with the ids of the tasks. All outputs must be known."""
        self._outlines: set[Outline] = set()
        self._names: dict[bytes, list[HeldOut]] = {}
        for name, pair in held_out:
            self._outlines.add(outline(pair))
            self._names.setdefault(canonical(pair), []).append(name)
        self._given = {
            (canonical(pair), task_id) for task_id, pair in demonstrations if outline(pair) in self._outlines
        }

    def like(self, pairs: Sequence[Pair]) -> list[int]:
        """The pairs with the outline of a held-out test pair, which `find` should look at: few of many."""
        return [index for index, found in enumerate(outlines(pairs)) if found in self._outlines]

    def find(self, pair: Pair, demonstration_of: str | None = None) -> HeldOut | None:
        """The first held-out test pair with the content of `pair`, if any.

        Not one of the task `demonstration_of` if that task gives this content away as a demonstration. Raises
        ValueError if an output is unknown.
        """
        if outline(pair) not in self._outlines:  # the case for nearly every pair of a corpus
            return None
        content = canonical(pair)
        given = demonstration_of if (content, demonstration_of) in self._given else None
        return next((name for name in self._names.get(content, ()) if name.task_id != given), None)


@dataclass(frozen=True)
class LeakedPair:
    """A pair of a training corpus that must not be trained on."""

    corpus: str
    task_id: str
    place: str  # in its task, as in JSON: train[0], test[1], or [17] of a list of pairs
    equals: HeldOut | None  # None: leaked by id alone, as it may be a test pair of a held-out task
    count: int = 1  # of a list that is dropped by id: all of its pairs
    nearly: bool = False  # it is nearly a copy of `equals`


@dataclass
class LeakReport:
    """What the guard found and what was left out of the training tasks. A task is named (corpus, task id)."""

    guarded: list[tuple[str, int]]  # held-out source, number of its known test outputs
    allowed: bool  # leaks are counted and nothing is dropped
    shared_ids: list[tuple[str, str]] = field(default_factory=list)  # tasks of a full corpus with a held-out task's id
    strict: bool = False  # suspects are dropped as well
    pairs: list[LeakedPair] = field(default_factory=list)  # dropped, unless leaks are allowed
    suspects: list[LeakedPair] = field(default_factory=list)  # nearly copies of held-out test pairs
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
            "leaked_pairs": [_document(pair) for pair in self.pairs],
            "suspects_dropped": self.strict and not self.allowed,
            "suspects": [_document(pair) for pair in self.suspects],
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
        kept = "dropped" if self.strict and not self.allowed else "trained on; --strict-leaks drops them"
        return [
            f"held-out test outputs: {guarded or 'none'}",
            f"tasks that share an id with a held-out task: {len(self.shared_ids)}; "
            f"that hold a held-out test pair: {len(self.shared_content)}",
            verdict,
            *(f"  {_line(pair)}" for pair in self.pairs[:MOST_LISTED] if not self.allowed),
            f"suspects, nearly copies of held-out test pairs: {len(self.suspects)}, {kept}",
            *(f"  {_line(pair)}" for pair in self.suspects[:MOST_LISTED]),
            f"duplicate tasks, kept once: {len(self.duplicates)}",
        ]


def _grids(pair: Pair) -> tuple[Grid, Grid]:
    if pair.output is None:
        raise ValueError("a pair without its output cannot be compared")
    return pair.input, pair.output


def numbered(*grids: Grid) -> bytes:
    """The shapes, then the cells of all grids row by row, colours numbered in order of first appearance."""
    cells = b"".join(grid.tobytes() for grid in grids)
    number = bytearray(COLOURS)
    appearances = sorted((cells.find(colour), colour) for colour in range(COLOURS))  # -1: does not appear
    for rank, (_, colour) in enumerate((place, colour) for place, colour in appearances if place >= 0):
        number[colour] = rank
    return bytes(side for grid in grids for side in grid.shape) + cells.translate(bytes(number).ljust(256))


def _document(pair: LeakedPair) -> dict[str, Any]:
    held = pair.equals
    equals = held and {"source": one_line(held.source), "task": held.task_id, "test": held.test}
    return {"corpus": one_line(pair.corpus), "task": pair.task_id, "pair": pair.place, "equals": equals}


def _line(pair: LeakedPair) -> str:
    held = pair.equals
    what = f"is test[{held.test}] of {held.task_id}" if held else "may be a held-out test pair"
    return f"{pair.task_id} {pair.place} of {one_line(pair.corpus)} {'nearly ' if pair.nearly else ''}{what}"
