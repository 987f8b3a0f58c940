"""Grids to tokens on a device."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kernels import canvas_numba, canvas_torch
from kernels.canvas import PAD, Canvas, PackedGrids, pack
from kernels.upload import upload
from solver.model.packing import Packing
from solver.tasks.task import Pair, StoredPairs
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
        self._open([pack(grids)], None, device)

    @classmethod
    def of_pairs(cls, lists: Sequence[Sequence[Pair]], device: torch.device) -> "Encoder":
        """Encodes the grids of some lists of pairs, one list after the other, two grids per pair.

        On a CPU, the cells of StoredPairs stay in the file that they are mapped from.
        """
        stored = [pairs for pairs in lists if isinstance(pairs, StoredPairs)]
        loose = StoredPairs.of([pair for pairs in lists if not isinstance(pairs, StoredPairs) for pair in pairs])
        cells = list({id(part.grids.cells): part.grids.cells for part in (loose, *stored)}.values())
        number = {id(array): place for place, array in enumerate(cells)}
        part = np.concatenate(
            [np.full(2 * len(p), number[id(p.grids.cells)] if isinstance(p, StoredPairs) else 0) for p in lists]
        )
        columns = []
        for name in ("start", "height", "width"):
            column = np.empty(len(part), getattr(loose.grids, name).dtype)
            column[part == 0] = getattr(loose.grids, name)
            if stored:
                column[part > 0] = np.concatenate([getattr(pairs.grids, name) for pairs in stored])
            columns.append(column)
        self = cls.__new__(cls)
        self._open([PackedGrids(array, *columns) for array in cells], part if stored else None, device)
        return self

    def _open(self, parts: list[PackedGrids], part: np.ndarray | None, device: torch.device) -> None:
        """`parts` differ in their cells alone; grid i is in number `part[i]` of them (None: there is only one)."""
        self.device, self._part = device, part
        self._kernel: Any = canvas_numba if device.type == "cpu" else canvas_torch
        self._parts = parts if device.type == "cpu" else [canvas_torch.to_device(grids, device) for grids in parts]

    def __call__(
        self, index: np.ndarray, variants: Variants, offset: np.ndarray, canvas: Canvas, padding: int = PAD
    ) -> Tensor:
        """Tokens (K, H*W) int64 of grids `index` (K,), each as its variant, at `offset` (K, 2) on a canvas."""
        if self._part is None:
            return self._encode(self._parts[0], index, variants, offset, canvas, padding)
        tokens = torch.empty(len(index), canvas[0] * canvas[1], dtype=torch.int64, device=self.device)
        part = self._part[index]
        for number in np.unique(part):
            here = np.flatnonzero(part == number)
            chosen = Variants(*(column[here] for column in variants))
            encoded = self._encode(self._parts[number], index[here], chosen, offset[here], canvas, padding)
            tokens[upload(self.device, here)[0]] = encoded
        return tokens

    def _encode(
        self, grids: PackedGrids, index: np.ndarray, variants: Variants, offset: np.ndarray, canvas: Canvas, pad: int
    ) -> Tensor:
        tokens = self._kernel.encode(
            grids,
            index=index,
            symmetry=variants.symmetry,
            permutation=variants.permutation,
            row=offset[:, 0],
            column=offset[:, 1],
            canvas=canvas,
            padding=pad,
        )
        tokens = tokens if isinstance(tokens, Tensor) else torch.from_numpy(tokens)
        return tokens.flatten(1).long()

    def upload(self, first: np.ndarray, second: np.ndarray) -> tuple[Tensor, Tensor]:
        """Two integer arrays as int64 tensors on the device, without waiting for it."""
        uploaded = upload(self.device, first, second)
        return uploaded[0], uploaded[1]
