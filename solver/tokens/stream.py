"""Training examples: drawn, augmented, translated and encoded when they are needed, and never stored.

Letters: K examples of one draw, (H, W) a canvas.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kernels.canvas import IGNORE, Canvas
from solver.settings.config import CanvasConfig
from solver.tasks.task import StoredPairs
from solver.tokens.canvases import fit_canvases
from solver.tokens.encode import Batch, Encoder
from solver.tokens.shuffle import Bucket, Pool, TaskExamples
from solver.tokens.variants import Variants

_CANVAS_DRAWS = 2**32 - 1  # keeps the random numbers for canvases apart from those for examples


class PairStream:
    """An endless stream of the pairs of some tasks, as random variants at random places on their canvas.

    A batch has one canvas, so the pairs are sorted into buckets, one per canvas, and every step picks a bucket. An
    example: three tasks of weight 1, canvas sides 4 and 8, `step_tokens` 300, `extra_tokens` 4.

        task A: 3 pairs on canvas 4x4    task B: 2 pairs on 4x4    task C: 1 pair on 4x8

        bucket 4x4: A and B, in any variant. 20 tokens per example, so 15 slots
        bucket 4x8: C, in variants that keep height and width. 36 tokens per example, so 8 slots
        bucket 8x4: C, in variants that swap them. 36 tokens per example, so 8 slots

    Order within a bucket, as in the published sampler: passes over the tasks in random order; a visit takes one random
    variant of the task and all of its pairs on this canvas in random order. Bucket 4x4 may yield b2 b1, a1 a3 a2, a2 a1
    a3, b1 b2: B then A in the first pass, A then B in the second. The pairs of a visit share a variant so that a batch
    shows the whole rule of a task. A task of weight 1/2 is visited in about every second pass.

    Choice of the bucket: with a chance in proportion to tokens per example times pairs, where a pair that half of the
    variants send here counts half. Here 5 * 20 : 1/2 * 36 : 1/2 * 36. Because the slots of a bucket are in inverse
    proportion to its tokens, every step costs about the same, yet every pair is drawn equally often on any canvas.
    """

    packed = False

    def __init__(
        self,
        tasks: Sequence[TaskExamples],
        canvases: CanvasConfig,
        step_tokens: int,
        extra_tokens: int,
        seed: int,
        device: torch.device,
    ) -> None:
        """`step_tokens`: tokens per step. `extra_tokens`: tokens per example beside its canvas (the puzzle tokens)."""
        self._step_tokens, self._extra, self._seed = step_tokens, extra_tokens, seed
        self._pool = Pool(tasks)
        self._pairs_of_task = np.array([len(task.pairs) for task in tasks])
        self._task = np.repeat(np.arange(len(tasks)), self._pairs_of_task)
        self._encoder = Encoder.of_pairs([task.pairs for task in tasks], device)
        sizes = np.concatenate([StoredPairs.of(task.pairs).sizes for task in tasks])
        self._size = np.maximum(sizes[:, :2], sizes[:, 2:])  # (pairs, 2) upright
        weights = np.array([task.weight for task in tasks])
        each = [fit_canvases(task.pairs, task.demonstrations or task.pairs, canvases) for task in tasks]
        upright = list(map(tuple, np.concatenate(each).tolist()))
        self._buckets = self._make_buckets(upright, weights)
        self._moves = canvases.mode != "exact"
        self.canvases = list(self._buckets)
        work = np.array([bucket.weight * self.tokens(canvas) for canvas, bucket in self._buckets.items()])
        self._chance = work / work.sum()
        self._steps = 0

    def _make_buckets(self, upright: list[Canvas], weights: np.ndarray) -> dict[Canvas, Bucket]:
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
        columns = {canvas: [np.array(c) for c in zip(*sorted(rows), strict=True)] for canvas, rows in entries.items()}
        return {canvas: Bucket(canvas[0] == canvas[1], columns[canvas], weights) for canvas in sorted(columns)}

    def tokens(self, canvas: Canvas) -> int:
        """Tokens per example, puzzle tokens included."""
        return canvas[0] * canvas[1] + self._extra

    def slot_count(self, canvas: Canvas) -> int:
        """Slots of a step on this canvas, over all ranks: as many as `step_tokens` allows, at least one."""
        return max(1, self._step_tokens // self.tokens(canvas))

    def halve(self, canvas: Canvas) -> int:
        """Make steps half as large as one on this canvas, which ran out of memory. Returns the new tokens per step."""
        self._step_tokens = max(1, self.slot_count(canvas) * self.tokens(canvas) // 2)
        return self._step_tokens

    def leave_out(self, canvases: Collection[Canvas]) -> bool:
        """Draw no more from some canvases. If no other canvas is left, change nothing and return False."""
        chance = np.where([canvas in canvases for canvas in self.canvases], 0.0, self._chance)
        if chance.any():
            self._chance = chance / chance.sum()
        return bool(chance.any())

    def shares(self) -> dict[Canvas, float]:
        """Share of the steps on each canvas."""
        return dict(zip(self.canvases, self._chance.tolist(), strict=True))

    def next_step(self) -> tuple[Canvas, int]:
        """The canvas of the next step, and its slots over all ranks."""
        generator = np.random.default_rng([self._seed, _CANVAS_DRAWS, self._steps])
        self._steps += 1
        canvas = self.canvases[generator.choice(len(self.canvases), p=self._chance)]
        return canvas, self.slot_count(canvas)

    def draw(self, canvas: Canvas, count: int, mine: slice = slice(None)) -> Batch:
        """The next `count` examples of a canvas, of which only `mine`, this rank's, are encoded and returned."""
        number = self.canvases.index(canvas)
        drawn = self._buckets[canvas].take(count, self._pool, [self._seed, number])
        pairs, chosen, place = (column[mine] for column in drawn)
        variants = Variants(self._pool.symmetry[chosen], self._pool.permutation[chosen])
        offset = self._offsets(pairs, variants.transposes, place, canvas)
        inputs = self._encoder(2 * pairs, variants, offset, canvas)
        labels = self._encoder(2 * pairs + 1, variants, offset, canvas, IGNORE)
        ids, symmetry = self._encoder.upload(self._pool.row[chosen], variants.symmetry)
        return Batch(inputs, labels, ids, symmetry)

    def position(self) -> dict[str, Any]:
        """The position in the stream, as JSON; `seek` on a stream of the same tasks and seed continues there."""
        return {"steps": self._steps, "buckets": [list(bucket.position) for bucket in self._buckets.values()]}

    def seek(self, position: Mapping[str, Any]) -> None:
        self._steps = position["steps"]
        for bucket, (number, place) in zip(self._buckets.values(), position["buckets"], strict=True):
            bucket.position = (number, place)

    def _offsets(self, pairs: np.ndarray, transposes: np.ndarray, place: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Offsets (K, 2): random, except that about one pair per visit stays at the origin, where test inputs are."""
        size = np.where(transposes[:, None], self._size[pairs][:, ::-1], self._size[pairs])
        offset = (place[:, :2] * (np.array(canvas) - size + 1)).astype(np.int64)
        stays = (place[:, 2] * self._pairs_of_task[self._task[pairs]] < 1) | (not self._moves)
        return np.where(stays[:, None], 0, offset)
