"""TODO."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kernels import canvas_numba, canvas_torch
from kernels.canvas import PAD, Canvas, PackedGrids, pack
from solver.tokens.variants import Variants


class Batch(NamedTuple):
    """Examples for some slots, on one canvas."""

    inputs: Tensor  # (B, S) int64 tokens
    labels: Tensor  # (B, S) int64 tokens, IGNORE where nothing is scored
    ids: Tensor  # (B,) rows of the puzzle embedding table
    symmetry: Tensor  # (B,) int64
    permutation: Tensor  # (B, 10) int64

    def at(self, slots: Tensor | slice) -> "Batch":
        """The examples of some slots."""
        return Batch(*(part[slots] for part in self))


Draw = Callable[[Tensor, slice], Batch]
"""(slots of all ranks that need an example, which of those are this rank's) -> a batch for this rank's."""


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
