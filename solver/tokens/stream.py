"""Training examples, drawn, augmented, translated and encoded when they are needed and never stored.

Every canvas has its own slots, so a step first draws a canvas and then fills the free slots from the pairs that fall on
it. What is drawn depends on the seed and on the position in the stream alone, so that a run can be resumed to the step
and is the same on any number of ranks. Letters: K examples of one draw, E entries of one round, (H, W) a canvas.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kernels.canvas import IGNORE, Canvas
from solver.settings.config import CanvasConfig
from solver.tasks.task import Pair
from solver.tokens.canvases import fit_canvas, pair_size
from solver.tokens.encode import Batch, Draw, Encoder
from solver.tokens.variants import Variants

ROUND = 1024  # entries, at the least, that are put in order at a time
_CANVAS_DRAWS = 2**32 - 1  # keeps the draws of canvases apart from those of examples


@dataclass(frozen=True)
class TaskExamples:
    """What is learned of one task: its pairs, as its variants."""

    pairs: Sequence[Pair]
    variants: Variants
    rows: np.ndarray  # (variants,) of the puzzle embedding table
    weight: float = 1.0  # how often the task is visited, relative to the others


class _Visits(NamedTuple):
    """Groups of pairs that are visited together: a task's that fall on one canvas in one orientation; (G,) each."""

    task: np.ndarray
    turned: np.ndarray  # bool: the pairs fall here in variants that do, or do not, swap height and width
    first: np.ndarray  # of its pairs, in `_Bucket.pairs`
    length: np.ndarray  # how many pairs


class _Round(NamedTuple):
    """Examples in the order in which they are drawn; (E,) each."""

    pair: np.ndarray
    variant: np.ndarray  # number in the pool
    place: np.ndarray  # (E, 3) uniform in [0, 1): row and column on the canvas, whether the grid is moved at all


class _Pool:
    """The variants of all tasks, end to end, a task's upright ones before those that swap height and width."""

    def __init__(self, tasks: Sequence[TaskExamples]) -> None:
        orders = [np.argsort(task.variants.transposes, kind="stable") for task in tasks]
        joined = [(*(part[o] for part in task.variants), task.rows[o]) for task, o in zip(tasks, orders, strict=True)]
        columns = (np.concatenate(parts) for parts in zip(*joined, strict=True))
        self.symmetry, self.permutation, self.row = columns
        upright = np.array([int((~task.variants.transposes).sum()) for task in tasks])
        self.count = np.stack([upright, [len(task.rows) for task in tasks] - upright], axis=1)  # (tasks, 2)
        self._start = np.cumsum(self.count.sum(axis=1)) - self.count.sum(axis=1)

    def choose(self, task: np.ndarray, turned: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
        """A random variant of each task (K,); where `turned` is given, one that does or does not swap the sides."""
        first, count = self._start[task], self.count[task]
        if turned is None:
            size = count.sum(axis=1)
        else:
            first, size = first + turned * count[:, 0], count[np.arange(len(task)), turned.astype(int)]
        return first + (generator.random(len(task)) * size).astype(np.int64)


class _Bucket:
    """What falls on one canvas, in rounds: in each, tasks in random order, one random variant, all its pairs."""

    def __init__(self, square: bool, entries: list[tuple[int, bool, int, float]], weights: np.ndarray) -> None:
        """`entries`: (task, turned, pair, share of the task's variants that fall here); `weights` of all tasks."""
        task, turned, self.pairs, share = (np.array(column) for column in zip(*entries, strict=True))
        starts = np.flatnonzero(np.diff(task * 2 + turned, prepend=-1))
        counts = np.diff(starts, append=len(task))
        self._visits = _Visits(task[starts], turned[starts], starts, counts)
        of_visit = weights[task[starts]]
        self._weight = of_visit / of_visit.max()  # the heaviest task is visited in every pass
        self._square = square  # a square canvas takes a variant of either kind
        self.weight = float((share * weights[task]).sum())  # pairs that fall here, as a share of all variants
        self._passes = math.ceil(ROUND / max(1.0, float((self._weight * counts).sum())))
        self._kept: tuple[int, _Round] | None = None
        self.position = (0, 0)  # round, place in it

    def take(self, count: int, pool: _Pool, seed: Sequence[int]) -> _Round:
        """The next `count` examples."""
        parts = []
        number, place = self.position
        while count:
            if self._kept is None or self._kept[0] != number:
                self._kept = number, self._shuffled(pool, np.random.default_rng([*seed, number]))
            whole = self._kept[1]
            part = _Round(*(column[place : place + count] for column in whole))
            count, place = count - len(part.pair), place + len(part.pair)
            parts.append(part)
            if place == len(whole.pair):
                number, place = number + 1, 0
        self.position = number, place
        return parts[0] if len(parts) == 1 else _Round(*(np.concatenate(c) for c in zip(*parts, strict=True)))

    def _shuffled(self, pool: _Pool, generator: np.random.Generator) -> _Round:
        """One round: as many passes as make it worth while; a task of half the largest weight comes in half of them."""
        of_pass, visited = np.nonzero(generator.random((self._passes, len(self._weight))) < self._weight)
        visited = visited[np.lexsort((generator.random(len(visited)), of_pass))]
        visits = _Visits(*(column[visited] for column in self._visits))
        variant = pool.choose(visits.task, None if self._square else visits.turned, generator)
        visit = np.repeat(np.arange(len(visited)), visits.length)
        within = np.arange(len(visit)) - np.repeat(np.cumsum(visits.length) - visits.length, visits.length)
        shuffled = np.lexsort((generator.random(len(visit)), visit))
        pair = self.pairs[visits.first[visit] + within][shuffled]
        return _Round(pair, variant[visit], generator.random((len(visit), 3)))


class PairStream:
    """An endless stream of the pairs of some tasks, as random variants at random places.

    Drawn as by the published sampler: tasks in random order, one random variant of each, all of its pairs in random
    order (those that fall on the canvas). Every pair comes equally often whatever its canvas, but for the weights: a
    canvas is chosen in proportion to the work its pairs make, and holds as many slots as fit `step_tokens`.
    """

    def __init__(
        self,
        tasks: Sequence[TaskExamples],
        canvases: CanvasConfig,
        step_tokens: int,
        extra_tokens: int,
        seed: int,
        device: torch.device,
    ) -> None:
        """`step_tokens` is the size of a step in tokens and `extra_tokens` what a sample has beside its canvas."""
        self._step_tokens, self._extra, self._seed, self._device = step_tokens, extra_tokens, seed, device
        self._pool = _Pool(tasks)
        pairs = [pair for task in tasks for pair in task.pairs]
        self._pairs_of_task = np.array([len(task.pairs) for task in tasks])
        self._task = np.repeat(np.arange(len(tasks)), self._pairs_of_task)
        grids = [grid for pair in pairs for grid in (pair.input, pair.output) if grid is not None]
        self._encoder = Encoder(grids, device)
        self._size = np.array([pair_size(pair) for pair in pairs])  # (pairs, 2) upright
        weights = np.array([task.weight for task in tasks])
        self._buckets = self._make_buckets([fit_canvas(pair, canvases) for pair in pairs], weights)
        self.canvases = list(self._buckets)
        work = np.array([bucket.weight * self.tokens(canvas) for canvas, bucket in self._buckets.items()])
        self._chance = work / work.sum()
        self._steps = 0

    def _make_buckets(self, upright: list[Canvas], weights: np.ndarray) -> dict[Canvas, _Bucket]:
        entries: dict[Canvas, list[tuple[int, bool, int, float]]] = {}
        for pair, canvas in enumerate(upright):
            task = int(self._task[pair])
            if canvas[0] == canvas[1]:
                entries.setdefault(canvas, []).append((task, False, pair, 1.0))
                continue
            count = self._pool.count[task]
            for turned, place in ((False, canvas), (True, canvas[::-1])):
                if count[int(turned)]:
                    share = count[int(turned)] / count.sum()
                    entries.setdefault(place, []).append((task, turned, pair, share))
        return {c: _Bucket(c[0] == c[1], sorted(rows), weights) for c, rows in sorted(entries.items())}

    def tokens(self, canvas: Canvas) -> int:
        """Of one example, puzzle tokens included."""
        return canvas[0] * canvas[1] + self._extra

    def slot_count(self, canvas: Canvas) -> int:
        """How many slots a step on this canvas has, so that every step costs about the same."""
        return max(1, self._step_tokens // self.tokens(canvas))

    def halve(self, canvas: Canvas) -> int:
        """Make steps half as large as one on this canvas, which ran out of memory; returns their tokens."""
        self._step_tokens = max(1, self.slot_count(canvas) * self.tokens(canvas) // 2)
        return self._step_tokens

    def leave_out(self, canvases: Collection[Canvas]) -> bool:
        """Draw no more from some canvases; False, and nothing is changed, if no other is left."""
        chance = np.where([canvas in canvases for canvas in self.canvases], 0.0, self._chance)
        if chance.any():
            self._chance = chance / chance.sum()
        return bool(chance.any())

    def shares(self) -> dict[Canvas, float]:
        """How often a step is on each canvas."""
        return dict(zip(self.canvases, self._chance.tolist(), strict=True))

    def next_canvas(self) -> Canvas:
        """The canvas of the next step."""
        generator = np.random.default_rng([self._seed, _CANVAS_DRAWS, self._steps])
        self._steps += 1
        return self.canvases[generator.choice(len(self.canvases), p=self._chance)]

    def draw(self, canvas: Canvas, count: int, mine: slice = slice(None)) -> Batch:
        """The next `count` examples of a canvas; only those that are `mine` are encoded and returned."""
        number = self.canvases.index(canvas)
        drawn = self._buckets[canvas].take(count, self._pool, [self._seed, number])
        pairs, chosen, place = (column[mine] for column in drawn)
        variants = Variants(self._pool.symmetry[chosen], self._pool.permutation[chosen])
        offset = self._offsets(pairs, variants.transposes, place, canvas)
        described = (self._pool.row[chosen], *variants)
        inputs = self._encoder(2 * pairs, variants, offset, canvas)
        labels = self._encoder(2 * pairs + 1, variants, offset, canvas, IGNORE)
        return Batch(inputs, labels, *(torch.from_numpy(a.astype(np.int64)).to(self._device) for a in described))

    def on(self, canvas: Canvas) -> Draw:
        """What a learner's step on this canvas draws its examples with."""
        return partial(self._draw_free, canvas)

    def _draw_free(self, canvas: Canvas, free: Tensor, mine: slice) -> Batch:
        return self.draw(canvas, len(free), mine)

    def position(self) -> dict[str, Any]:
        """Where the stream is, as JSON; `seek` of the same tasks and seed goes on from there."""
        return {"steps": self._steps, "buckets": [list(bucket.position) for bucket in self._buckets.values()]}

    def seek(self, position: Mapping[str, Any]) -> None:
        """Go to a position."""
        self._steps = position["steps"]
        for bucket, (number, place) in zip(self._buckets.values(), position["buckets"], strict=True):
            bucket.position = (number, place)

    def _offsets(self, pairs: np.ndarray, transposes: np.ndarray, place: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Places (K, 2) for pairs; one example in as many as its task has pairs stays at the origin."""
        size = np.where(transposes[:, None], self._size[pairs][:, ::-1], self._size[pairs])
        offset = (place[:, :2] * (np.array(canvas) - size + 1)).astype(np.int64)
        stays = place[:, 2] * self._pairs_of_task[self._task[pairs]] < 1
        return np.where(stays[:, None], 0, offset)
