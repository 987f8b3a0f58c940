"""Held-out test outputs must not be trained on: pairs are compared by content, whatever task they are filed under.

Two pairs are the same content when one of the 8 symmetries, applied to input and output alike, and one renaming of the
ten colours, black included, turn one into the other: training augments with exactly such changes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.symmetry import COLOURS, SYMMETRIES, apply_symmetry
from solver.common.checks import Grid, one_line, shown
from solver.tasks.task import Pair, Task

COUNT_BASE = 1024  # more than the 30 * 30 cells of any grid: two counts of cells as the digits of one number

Outline = tuple[tuple[int, ...], bytes]


def canonical(pair: Pair) -> bytes:
    """Equal bytes exactly for pairs of the same content, as the module defines it.

    They are the least, over the symmetries, of shapes and cells with the colours numbered as they first appear.
    Raises ValueError for a pair whose output is unknown.
    """
    source, target = _grids(pair)
    return min(_numbered(apply_symmetry(source, s), apply_symmetry(target, s)) for s in range(SYMMETRIES))


def outline(pair: Pair) -> Outline:
    """Equal for pairs of the same content, and rarely for others; ten times cheaper than `canonical`.

    The shapes, upright or lying, and each colour's counts in input and output, sorted since colours have no names.
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
    """Names one held-out test pair."""

    source: str
    task_id: str
    test: int  # counted from 0

    def __str__(self) -> str:
        return f"{one_line(self.source)}: task {shown(self.task_id)}: test[{self.test}]"


def known_tests(source: str, tasks: Iterable[Task]) -> list[tuple[HeldOut, Pair]]:
    """The test pairs of `tasks` whose outputs are known, with their names."""
    return [
        (HeldOut(source, task.id, index), pair)
        for task in tasks
        for index, pair in enumerate(task.test)
        if pair.output is not None
    ]


class Guard:
    """Knows the held-out test pairs and recognizes them under any symmetry and colours."""

    def __init__(self, held_out: Iterable[tuple[HeldOut, Pair]]) -> None:
        """Of several held-out pairs of the same content, the first gives the name. Their outputs must be known."""
        self._outlines: set[Outline] = set()
        self._names: dict[bytes, HeldOut] = {}
        for name, pair in held_out:
            self._outlines.add(outline(pair))
            self._names.setdefault(canonical(pair), name)

    def find(self, pair: Pair) -> HeldOut | None:
        """The held-out test pair whose content `pair` has, if any. Raises ValueError when its output is unknown."""
        if outline(pair) not in self._outlines:  # so for nearly every pair of a corpus
            return None
        return self._names.get(canonical(pair))


@dataclass(frozen=True)
class LeakedPair:
    """A pair that was on its way into training, and must not be there."""

    corpus: str
    task_id: str
    place: str  # in its task, as in JSON: train[0], test[1], or [17] of a list of pairs
    equals: HeldOut | None  # None: leaked by the id alone, as it may be a test pair of a task that is held out


@dataclass(frozen=True)
class Duplicate:
    """A task that came again, and is trained on as part of the earlier one."""

    corpus: str
    task_id: str
    kept_in: str  # the earlier corpus


@dataclass(frozen=True)
class LeakReport:
    """What the guard found, and what was left out of the training tasks. A task is named (corpus, task id)."""

    guarded: tuple[tuple[str, int], ...]  # every held-out source and how many of its test outputs are known
    shared_ids: tuple[tuple[str, str], ...]  # tasks of a full corpus under the id of a held-out task
    pairs: tuple[LeakedPair, ...]  # dropped, unless leaks are allowed
    emptied: tuple[tuple[str, str], ...]  # tasks that had no other pair, and so are gone as well
    duplicates: tuple[Duplicate, ...]
    allowed: bool  # leaks are counted, and nothing is dropped

    @property
    def shared_content(self) -> tuple[tuple[str, str], ...]:
        """The tasks of any corpus with at least one pair that equals a held-out test pair."""
        return tuple(dict.fromkeys((pair.corpus, pair.task_id) for pair in self.pairs if pair.equals is not None))

    @property
    def pairs_dropped(self) -> int:
        return 0 if self.allowed else len(self.pairs)

    def document(self) -> dict[str, Any]:
        """The report, ready for JSON. "equals" of null: leaked by the task's id alone."""
        return {
            "guarded_test_outputs": {one_line(name): count for name, count in self.guarded},
            "leaks_allowed": self.allowed,
            "shared_ids": len(self.shared_ids),
            "shared_content": len(self.shared_content),
            "pairs_dropped": self.pairs_dropped,
            "leaked_pairs": [
                {
                    "corpus": one_line(pair.corpus),
                    "task": pair.task_id,
                    "pair": pair.place,
                    "equals": _named(pair.equals),
                }
                for pair in self.pairs
            ],
            "emptied_tasks": [{"corpus": one_line(corpus), "task": task} for corpus, task in self.emptied],
            "duplicates": [
                {"corpus": one_line(task.corpus), "task": task.task_id, "kept_in": one_line(task.kept_in)}
                for task in self.duplicates
            ],
        }

    def lines(self) -> list[str]:
        """The report for people: a few lines."""
        guarded = ", ".join(f"{count} of {one_line(source)}" for source, count in self.guarded)
        by_content = sum(pair.equals is not None for pair in self.pairs)
        found = f"{by_content} pairs by content, {len(self.pairs) - by_content} by id alone"
        if self.allowed:
            verdict = f"TRAINED ON, since leaks are allowed: {found}"
        else:
            verdict = f"dropped: {found}, and {len(self.emptied)} tasks that had no other pair"
        return [
            f"held-out test outputs: {guarded or 'none'}",
            f"tasks that share an id with a held-out task: {len(self.shared_ids)}; "
            f"that hold a held-out test pair: {len(self.shared_content)}",
            verdict,
            f"tasks that came again and are kept once: {len(self.duplicates)}",
        ]


def _named(name: HeldOut | None) -> dict[str, Any] | None:
    return None if name is None else {"source": one_line(name.source), "task": name.task_id, "test": name.test}


def _grids(pair: Pair) -> tuple[Grid, Grid]:
    if pair.output is None:
        raise ValueError("a pair without its output cannot be compared")
    return pair.input, pair.output


def _numbered(source: Grid, target: Grid) -> bytes:
    """Both shapes, then both grids' cells, row by row, with colours 0, 1, … in the order in which they appear."""
    cells = source.tobytes() + target.tobytes()
    number = bytearray(COLOURS)
    appearances = sorted((cells.find(colour), colour) for colour in range(COLOURS))  # -1 for those that never do,
    for rank, (_, colour) in enumerate((place, colour) for place, colour in appearances if place >= 0):
        number[colour] = rank
    return bytes(source.shape + target.shape) + cells.translate(bytes(number).ljust(256))
