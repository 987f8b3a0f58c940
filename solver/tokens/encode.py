"""Grids to tokens on a device."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kernels import canvas_numba, canvas_torch
from kernels.canvas import PAD, Canvas, pack
from solver.model.packing import Packing
from solver.tokens.variants import Variants


class Batch(NamedTuple):
    """B examples on one canvas, or packed."""

    inputs: Tensor  # (B, S) int64 tokens; packed (1, T)
    labels: Tensor  # (B, S) int64 tokens, IGNORE where nothing is scored; packed (1, T)
    ids: Tensor  # (B,) rows of the puzzle embedding table
    symmetry: Tensor  # (B,) int64
    packing: Packing | None = None  # None: all on one canvas


class Encoder:
    """Encodes grids as tokens on a device: with numba on a CPU, with torch elsewhere."""

    def __init__(self, grids: Sequence[np.ndarray], device: torch.device) -> None:
        self.device = device
        self._kernel: Any = canvas_numba if device.type == "cpu" else canvas_torch
        self._grids = pack(grids) if device.type == "cpu" else canvas_torch.to_device(pack(grids), device)

    def __call__(
        self, index: np.ndarray, variants: Variants, offset: np.ndarray, canvas: Canvas, padding: int = PAD
    ) -> Tensor:
        """Tokens (K, H*W) int64 of grids `index` (K,), each as its variant, at `offset` (K, 2) on a canvas."""
        tokens = self._kernel.encode(
            self._grids,
            index=index,
            symmetry=variants.symmetry,
            permutation=variants.permutation,
            row=offset[:, 0],
            column=offset[:, 1],
            canvas=canvas,
            padding=padding,
        )
        return torch.as_tensor(tokens).flatten(1).long()
