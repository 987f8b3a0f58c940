"""Training examples, drawn, augmented, translated and encoded when they are needed and never stored.

Every canvas has its own slots, so a step first draws a canvas and then fills the free slots from the pairs that fall on
it. Letters: K examples of one draw, (H, W) a canvas.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kernels import canvas_numba, canvas_torch
from kernels.canvas import IGNORE, PAD, PackedGrids, pack
from solver.canvases import CanvasConfig, fit_canvas, pair_size
from solver.learner import Batch
from solver.models.positions import Canvas
from solver.tasks import Task
from solver.variants import Variants


class Encoder:
    """Puts grids on canvases as tokens on a device: by numba on the CPU, by torch anywhere else."""

    def __init__(self, grids: Sequence[np.ndarray], device: torch.device) -> None:
        self.device = device
        self._grids = pack(grids)
        if device.type != "cpu":
            self._on_device: PackedGrids = canvas_torch.to_device(self._grids, device)

    def __call__(
        self, index: np.ndarray, variants: Variants, offset: np.ndarray, canvas: Canvas, padding: int = PAD
    ) -> Tensor:
        """Tokens (K, H*W) int64 of grids `index` (K,), each as its variant, at `offset` (K, 2) on a canvas."""
        place = (index, variants.symmetry, variants.permutation, offset[:, 0], offset[:, 1], canvas, padding)
        if self.device.type == "cpu":
            tokens = torch.from_numpy(canvas_numba.encode(self._grids, *place))
        else:
            tokens = canvas_torch.encode(self._on_device, *place)
        return tokens.flatten(1).long()


@dataclass
class _Bucket:
    """What falls on one canvas, drawn without replacement until all have been."""

    pairs: np.ndarray  # (E,) pair of each entry
    transposed: np.ndarray  # (E,) bool: only variants that do, or do not, swap height and width fall here
    either: bool  # a square canvas takes both
    weight: float  # share of all (pair, variant) combinations, in pairs
    order: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def take(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """`count` entries in random order, each of them once before any comes again."""
        while len(self.order) < count:
            self.order = np.concatenate([self.order, generator.permutation(len(self.pairs))])
        taken, self.order = self.order[:count], self.order[count:]
        return taken


class _Pool:
    """The variants of all tasks, end to end, a task's upright ones before those that swap height and width."""

    def __init__(self, variants: Sequence[Variants], rows: Sequence[np.ndarray]) -> None:
        orders = [np.argsort(v.transposes, kind="stable") for v in variants]
        self.symmetry = np.concatenate([v.symmetry[o] for v, o in zip(variants, orders, strict=True)])
        self.permutation = np.concatenate([v.permutation[o] for v, o in zip(variants, orders, strict=True)])
        self.row = np.concatenate([r[o] for r, o in zip(rows, orders, strict=True)])
        upright = np.array([int((~v.transposes).sum()) for v in variants])
        self.count = np.stack([upright, [len(v) for v in variants] - upright], axis=1)  # (tasks, 2) upright, turned
        self._start = np.cumsum(self.count.sum(axis=1)) - self.count.sum(axis=1)

    def choose(self, task: np.ndarray, turned: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
        """A random variant of each task (K,); where `turned` is given, one that does or does not swap the sides."""
        first, count = self._start[task], self.count[task]
        if turned is None:
            size = count.sum(axis=1)
        else:
            first, size = first + turned * count[:, 0], count[np.arange(len(task)), turned.astype(int)]
        return first + (generator.random(len(task)) * size).astype(np.int64)


class PairStream:
    """An endless stream of the demonstration pairs of some tasks, as random variants at random places.

    Every pair is drawn equally often whatever its canvas: a canvas is chosen in proportion to the work its pairs make,
    and holds as many slots as fit `step_tokens`.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        variants: Sequence[Variants],
        rows: Sequence[np.ndarray],
        canvases: CanvasConfig,
        step_tokens: int,
        extra_tokens: int,
        generator: np.random.Generator,
        device: torch.device,
    ) -> None:
        """`rows[t]` (K_t,) are the rows of the puzzle embedding table of task t's variants.

        `step_tokens` is the size of a step in tokens and `extra_tokens` what a sample has beside its canvas.
        """
        self._step_tokens, self._extra, self._generator, self._device = step_tokens, extra_tokens, generator, device
        self._pool = _Pool(variants, rows)
        pairs = [pair for task in tasks for pair in task.train]
        self._task = np.repeat(np.arange(len(tasks)), [len(task.train) for task in tasks])
        self._pairs_of_task = np.bincount(self._task)
        grids = [grid for pair in pairs for grid in (pair.input, pair.output) if grid is not None]
        self._encoder = Encoder(grids, device)
        self._size = np.array([pair_size(pair) for pair in pairs])  # (pairs, 2) upright
        self._buckets = self._make_buckets([fit_canvas(pair, canvases) for pair in pairs])
        self.canvases = list(self._buckets)
        work = np.array([bucket.weight * self._tokens(canvas) for canvas, bucket in self._buckets.items()])
        self._chance = work / work.sum()

    def _make_buckets(self, upright: list[Canvas]) -> dict[Canvas, _Bucket]:
        entries: dict[Canvas, list[tuple[int, bool, float]]] = {}
        for pair, canvas in enumerate(upright):
            if canvas[0] == canvas[1]:
                entries.setdefault(canvas, []).append((pair, False, 1.0))
                continue
            count = self._pool.count[self._task[pair]]
            for turned, place in ((False, canvas), (True, canvas[::-1])):
                if count[int(turned)]:
                    entries.setdefault(place, []).append((pair, turned, count[int(turned)] / count.sum()))
        buckets = {}
        for canvas, rows in sorted(entries.items()):
            members, turns, weights = (np.array(column) for column in zip(*rows, strict=True))
            buckets[canvas] = _Bucket(members, turns, canvas[0] == canvas[1], float(weights.sum()))
        return buckets

    def _tokens(self, canvas: Canvas) -> int:
        return canvas[0] * canvas[1] + self._extra

    def slot_count(self, canvas: Canvas) -> int:
        """How many slots a step on this canvas has, so that every step costs about the same."""
        return max(1, self._step_tokens // self._tokens(canvas))

    def next_canvas(self) -> Canvas:
        """The canvas of the next step."""
        return self.canvases[self._generator.choice(len(self.canvases), p=self._chance)]

    def draw(self, canvas: Canvas, count: int) -> Batch:
        """`count` fresh examples for a canvas."""
        bucket, generator = self._buckets[canvas], self._generator
        entries = bucket.take(count, generator)
        pairs = bucket.pairs[entries]
        tasks = self._task[pairs]
        chosen = self._pool.choose(tasks, None if bucket.either else bucket.transposed[entries], generator)
        variants = Variants(self._pool.symmetry[chosen], self._pool.permutation[chosen])
        offset = self._offsets(pairs, variants.transposes, canvas)
        described = (self._pool.row[chosen], *variants)
        inputs = self._encoder(2 * pairs, variants, offset, canvas)
        labels = self._encoder(2 * pairs + 1, variants, offset, canvas, IGNORE)
        return Batch(inputs, labels, *(torch.from_numpy(a.astype(np.int64)).to(self._device) for a in described))

    def _offsets(self, pairs: np.ndarray, transposes: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Random places (K, 2) for pairs; one example in as many as its task has pairs stays at the origin."""
        size = np.where(transposes[:, None], self._size[pairs][:, ::-1], self._size[pairs])
        offset = self._generator.integers(0, np.array(canvas) - size + 1)
        stays = self._generator.random(len(pairs)) * self._pairs_of_task[self._task[pairs]] < 1
        return np.where(stays[:, None], 0, offset)
