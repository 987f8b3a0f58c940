"""Training steps of many random pairs, each as a variant of its own on its exact canvas, packed without padding.

Letters: K examples of one draw, T tokens of all of them, (H, W) a canvas.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernels.canvas import IGNORE, Canvas
from kernels.symmetry import TRANSPOSES
from solver.model.packing import PACKED, Packing
from solver.settings.config import CanvasConfig, LearnerConfig, TRMConfig
from solver.tokens.canvases import fit_canvases
from solver.tokens.encode import Batch, Encoder
from solver.tokens.shuffle import Bucket, Pool, TaskExamples
from solver.tokens.stream import PairStream
from solver.tokens.variants import Variants


class PackedStream:
    """An endless stream of pairs in random order; every step has as many, on canvases of any size.

    A step that mixes many tasks, symmetries and colours needs half as many steps as one of a single canvas
    (docs/log.md). Grids are at the origin. The same interface as `PairStream`, with PACKED in place of a canvas.
    """

    packed = True

    def __init__(
        self, tasks: Sequence[TaskExamples], canvases: CanvasConfig, step_tokens: int, seed: int, device: torch.device
    ) -> None:
        """`step_tokens`: tokens per step, on average."""
        self._step_tokens, self._seed, self._device = step_tokens, seed, device
        self._pool = Pool(tasks)
        self._encoder = Encoder.of_pairs([task.pairs for task in tasks], device)
        upright = [fit_canvases(task.pairs, task.demonstrations or task.pairs, canvases) for task in tasks]
        self._canvas = np.concatenate(upright)  # (pairs, 2)
        weights = np.array([task.weight for task in tasks])
        of_task = np.repeat(np.arange(len(tasks)), [len(task.pairs) for task in tasks])
        self._weights = weights[of_task]
        entries = (of_task, np.zeros(len(of_task), bool), np.arange(len(of_task)), np.ones(len(of_task)))
        self._bucket = Bucket(True, entries, weights, mixed=True)
        self._share_out(self._canvas)

    def _share_out(self, canvases: np.ndarray) -> None:
        """Note the share of the examples on each of the `canvases` (pairs, 2), which are those of all pairs."""
        kinds, kind = np.unique(canvases, axis=0, return_inverse=True)
        shares = np.bincount(kind.ravel(), self._weights) / self._weights.sum()
        self._shares = {canvas_of(size): share for size, share in zip(kinds, shares.tolist(), strict=True)}
        self.canvases = list(self._shares)
        self._mean = math.ceil(sum(share * height * width for (height, width), share in self._shares.items()))

    def tokens(self, canvas: Canvas) -> int:
        """Tokens per example, on average."""
        return self._mean

    def slot_count(self, canvas: Canvas) -> int:
        """Examples of a step, over all ranks."""
        return max(1, round(self._step_tokens / self._mean))

    def halve(self, canvas: Canvas) -> int:
        """Make steps half as large, as one ran out of memory. Returns the new tokens per step."""
        self._step_tokens = max(1, self.slot_count(canvas) * self._mean // 2)
        return self._step_tokens

    def leave_out(self, canvases: Collection[Canvas]) -> bool:
        """Whether examples are left when single ones do not fit into memory."""
        return PACKED not in canvases

    def shares(self) -> dict[Canvas, float]:
        """Share of the examples on each canvas, turned ones counted as upright."""
        return self._shares

    def next_step(self) -> tuple[Canvas, int]:
        """PACKED, and the examples of the next step over all ranks."""
        return PACKED, self.slot_count(PACKED)

    def draw(self, canvas: Canvas, count: int, mine: slice = slice(None)) -> Batch:
        """The next `count` examples, of which only `mine`, this rank's, are encoded and returned, sorted by size."""
        pairs, variants, ids, sizes, groups = self._drawn(count, mine, self._canvas[:, None])
        places, inputs, labels = [], list[Tensor](), list[Tensor]()
        for group in groups:
            place, part = canvas_of(sizes[group.start, 0]), Variants(*(column[group] for column in variants))
            origin, index = np.zeros((len(part), 2), np.int64), 2 * pairs[group]
            places.append((len(part), place))
            inputs.append(self._encoder(index, part, origin, place).flatten())
            labels.append(self._encoder(index + 1, part, origin, place, IGNORE).flatten())
        return self._packed(inputs, labels, ids, variants, Packing.of(places, self._device))

    def _drawn(
        self, count: int, mine: slice, upright: np.ndarray
    ) -> tuple[np.ndarray, Variants, np.ndarray, np.ndarray, list[slice]]:
        """The pairs (K,) of a draw, sorted by the sizes of their canvases; variants, table rows, sizes, equal groups.

        `upright` (pairs, C, 2) are the sizes of the C canvases of every pair, before a variant swaps their sides.
        """
        pairs, chosen, _ = (column[mine] for column in self._bucket.take(count, self._pool, [self._seed]))
        turned = TRANSPOSES[self._pool.symmetry[chosen]]
        sizes = np.where(turned[:, None, None], upright[pairs][:, :, ::-1], upright[pairs])
        flat = sizes.reshape(len(pairs), -1)
        order = np.lexsort((*flat.T[::-1], sizes.prod(axis=2).sum(axis=1)))  # by length, then by height and width
        pairs, chosen, sizes, flat = pairs[order], chosen[order], sizes[order], flat[order]
        starts = np.flatnonzero(np.any(np.diff(flat, axis=0, prepend=-1), axis=1)).tolist()
        groups = [slice(*ends) for ends in pairwise([*starts, len(pairs)])]
        variants = Variants(self._pool.symmetry[chosen], self._pool.permutation[chosen])
        return pairs, variants, self._pool.row[chosen], sizes, groups

    def _packed(
        self, inputs: list[Tensor], labels: list[Tensor], ids: np.ndarray, variants: Variants, packing: Packing
    ) -> Batch:
        rows, symmetry = self._encoder.upload(ids, variants.symmetry)
        return Batch(torch.cat(inputs)[None], torch.cat(labels)[None], rows, symmetry, packing)

    def position(self) -> dict[str, Any]:
        """The position in the stream, as JSON; `seek` on a stream of the same tasks and seed continues there."""
        return {"packed": list(self._bucket.position)}

    def seek(self, position: Mapping[str, Any]) -> None:
        number, place = position["packed"]
        self._bucket.position = (number, place)


def canvas_of(size: np.ndarray) -> Canvas:
    return int(size[0]), int(size[1])


def open_stream(
    tasks: Sequence[TaskExamples],
    model: TRMConfig,
    learner: LearnerConfig,
    canvases: CanvasConfig,
    step_tokens: int,
    seed: int,
    device: torch.device,
) -> PairStream | PackedStream:
    """Packed steps on exact canvases, if model and learner allow: all examples of a step must halt together."""
    together = model.embedding == "per_cell" and model.halting == "none" and learner.supervision_steps == 1
    if canvases.mode == "exact" and together:
        return PackedStream(tasks, canvases, step_tokens, seed, device)
    return PairStream(tasks, canvases, step_tokens, model.puzzle_tokens, seed, device)
