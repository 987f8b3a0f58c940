"""The order of training examples: passes over the tasks in random order, each example as a random variant.

It depends only on the seed and on the position, so that a run can resume at any step and is the same on any number of
ranks. Letters: K examples of one draw, E examples of one shuffle.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solver.tasks.task import Pair
from solver.tokens.variants import Variants

SHUFFLED = 1024  # examples, at least, that are put in order at once: numpy calls have a fixed cost


@dataclass(frozen=True)
class TaskExamples:
    """What is learned of one task: its pairs, seen through its variants."""

    pairs: Sequence[Pair]
    variants: Variants
    rows: np.ndarray  # (variants,) of the puzzle embedding table
    weight: float = 1.0  # how often the task is visited, relative to the others
    demonstrations: Sequence[Pair] = ()  # whose sizes say how large outputs are; none: the pairs themselves


# Examples in the order in which they are drawn, arrays of E: pair, variant (index into the pool), and place (E, 3),
# uniform in [0, 1): row and column on the canvas, whether the grid is moved at all.
Shuffle = tuple[np.ndarray, np.ndarray, np.ndarray]


class Pool:
    """The variants of all tasks, concatenated; within a task, upright ones come before those that swap the sides."""

    def __init__(self, tasks: Sequence[TaskExamples]) -> None:
        orders = [np.argsort(task.variants.transposes, kind="stable") for task in tasks]
        joined = [(*(part[o] for part in task.variants), task.rows[o]) for task, o in zip(tasks, orders, strict=True)]
        self.symmetry, self.permutation, self.row = (np.concatenate(parts) for parts in zip(*joined, strict=True))
        upright = np.array([int((~task.variants.transposes).sum()) for task in tasks])
        sizes = np.array([len(task.rows) for task in tasks])
        self.count = np.stack([upright, sizes - upright], axis=1)  # (tasks, 2)
        self._start = np.cumsum(sizes) - sizes

    def choose(self, task: np.ndarray, turned: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
        """A random variant of each task (K,); if `turned` is given, one that does or does not swap the sides."""
        first, count = self._start[task], self.count[task]
        if turned is None:
            size = count.sum(axis=1)
        else:
            first, size = first + turned * count[:, 0], count[np.arange(len(task)), turned.astype(int)]
        return first + (generator.random(len(task)) * size).astype(np.int64)


class Bucket:
    """The pairs that fit one canvas, in passes: each visits tasks in random order, with one random variant of each."""

    def __init__(self, square: bool, entries: Sequence[np.ndarray], weights: np.ndarray, mixed: bool = False) -> None:
        """`entries`: task, turned, pair, share of the task's variants on this canvas, (E,) each; `weights` per task."""
        task, turned, self.pairs, share = entries
        # Pairs of one task in one orientation are drawn together. Such a group begins in the entries at `_first`.
        # Mixed, every pair is a group of its own.
        self._first = np.arange(len(task)) if mixed else np.flatnonzero(np.diff(task * 2 + turned, prepend=-1))
        self._length = np.diff(self._first, append=len(task))
        self._task, self._turned = task[self._first], turned[self._first]
        self._weight = weights[self._task] / weights[self._task].max()  # the heaviest task is visited in every pass
        self._square = square  # a square canvas takes upright and turned variants alike
        self.weight = float((share * weights[task]).sum())  # pairs on this canvas, by weight and share of variants
        self._passes = math.ceil(SHUFFLED / max(1.0, float((self._weight * self._length).sum())))
        self._kept: tuple[int, Shuffle] | None = None
        self.position = (0, 0)  # number of the shuffle, place in it

    def take(self, count: int, pool: Pool, seed: Sequence[int]) -> Shuffle:
        parts = []
        number, place = self.position
        while count:
            if self._kept is None or self._kept[0] != number:
                self._kept = number, self._shuffled(pool, np.random.default_rng([*seed, number]))
            pair, variant, where = (column[place : place + count] for column in self._kept[1])
            count, place = count - len(pair), place + len(pair)
            parts.append((pair, variant, where))
            if place == len(self._kept[1][0]):
                number, place = number + 1, 0
        self.position = number, place
        pair, variant, where = (np.concatenate(column) for column in zip(*parts, strict=True))
        return pair, variant, where

    def _shuffled(self, pool: Pool, generator: np.random.Generator) -> Shuffle:
        """Enough passes for SHUFFLED examples. A task with half the largest weight is visited in half of them."""
        of_pass, visited = np.nonzero(generator.random((self._passes, len(self._weight))) < self._weight)
        visited = visited[np.lexsort((generator.random(len(visited)), of_pass))]
        variant = pool.choose(self._task[visited], None if self._square else self._turned[visited], generator)
        length = self._length[visited]
        visit = np.repeat(np.arange(len(visited)), length)
        within = np.arange(len(visit)) - np.repeat(np.cumsum(length) - length, length)
        shuffled = np.lexsort((generator.random(len(visit)), visit))
        pair = self.pairs[self._first[visited][visit] + within][shuffled]
        return pair, variant[visit], generator.random((len(visit), 3))
