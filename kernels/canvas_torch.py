"""canvas.py in torch, on any device, without loops over samples or cells. Same names, arguments and errors.

Grids come from `to_device`. Results are on the device of the grids or tokens. What is known per sample is checked and
computed on the host, in numpy, and uploaded at once: encoding and decoding never wait for the device. Working memory is
a few int64 numbers per token.
"""

import numpy as np
import torch
from torch import Tensor

from kernels import canvas as reference
from kernels.canvas import END_OF_GRID, FIRST_COLOUR, PAD, PackedGrids, check_tokens, placement
from kernels.symmetry import BITS, Array
from kernels.upload import upload


def to_device(grids: PackedGrids, device: torch.device | str) -> PackedGrids:
    """The same grids with their cells on `device`; start, height and width stay on the host."""
    return grids._replace(cells=torch.as_tensor(grids.cells).to(device))


def integers(*values: Array) -> tuple[np.ndarray, ...]:
    """int64 arrays on the host, of arrays or of tensors anywhere."""
    return reference.integers(*(value.cpu() if isinstance(value, Tensor) else value for value in values))


def encode(
    grids: PackedGrids,
    index: Array,
    symmetry: Array,
    permutation: Array,
    row: Array,
    column: Array,
    canvas: tuple[int, int],
    padding: int = PAD,
) -> Tensor:
    device = grids.cells.device
    index, symmetry, permutation, row, column = integers(index, symmetry, permutation, row, column)
    place = placement(BITS, grids, index, symmetry, permutation, row, column, canvas)
    token_of, *per_sample = upload(device, permutation + FIRST_COLOUR, *place, row, column)
    origin, down, right, height, width, row, column = (part[:, None, None] for part in per_sample)
    i = torch.arange(canvas[0], device=device)[:, None] - row  # (B, H, 1) row within the grid
    j = torch.arange(canvas[1], device=device) - column  # (B, 1, W) column within the grid
    in_rows, in_columns = (i >= 0) & (i < height), (j >= 0) & (j < width)
    outside = ~(in_rows & in_columns)  # (B, H, W)
    colours = grids.cells[(origin + i * down + j * right).masked_fill_(outside, 0)]
    tokens = token_of.to(torch.int8).gather(1, colours.flatten(1).long()).view(outside.shape)
    beside = (in_rows & (j == width)) | (in_columns & (i == height))
    return tokens.masked_fill_(outside, padding).masked_fill_(beside, END_OF_GRID)


def published_sizes(tokens: Tensor) -> Tensor:
    check_tokens(tokens)
    run = (tokens >= FIRST_COLOUR).long().cumprod(dim=2).sum(dim=2)  # (B, H)
    width = run.cummin(dim=1).values
    height = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    # One number per row, so that among equal areas the smallest height wins: argmax may return any of them.
    rank = (((width * height) << 5) + 31 - height).amax(dim=1)
    area, height = rank >> 5, 31 - (rank & 31)
    return torch.stack([height * (area > 0), area // height], dim=1).int()


def robust_sizes(tokens: Tensor) -> Tensor:
    check_tokens(tokens)
    height = torch.arange(1, tokens.shape[1] + 1, device=tokens.device, dtype=torch.int32)[:, None]  # (H, 1)
    width = torch.arange(1, tokens.shape[2] + 1, device=tokens.device, dtype=torch.int32)  # (W,)
    area = height * width
    inside = (tokens < FIRST_COLOUR).cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)  # (B, H, W)
    below, right = torch.zeros_like(inside), torch.zeros_like(inside)
    below[:, :-1] = (tokens[:, 1:] != END_OF_GRID).cumsum(2, dtype=torch.int32)
    right[:, :, :-1] = (tokens[:, :, 1:] != END_OF_GRID).cumsum(1, dtype=torch.int32)
    length_below, length_right = width * (height < tokens.shape[1]), height * (width < tokens.shape[2])  # (H, W)
    denied = torch.zeros_like(inside, dtype=torch.bool)
    for against, length in ((below, length_below), (right, length_right), (below + right, length_below + length_right)):
        denied |= (2 * against >= length) & (against > 1)
    # The rank of a rectangle is one number, as in canvas_numba.
    rank = (((((denied.int() << 10) + inside + below + right) << 10) + 1023 - area) << 5) + height
    none = torch.iinfo(torch.int32).max
    best = rank.masked_fill_(2 * inside > area, none).amin(dim=(1, 2))  # (B,)
    best_height = best & 31
    best_width = (1023 - ((best >> 5) & 1023)) // best_height.clamp(min=1)
    return torch.stack([best_height, best_width], dim=1).masked_fill_((best == none)[:, None], 0)
