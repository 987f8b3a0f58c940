"""Rotary position embeddings for a canvas of any size.

Letters: N tokens (P puzzle tokens first, then H*W canvas cells in row order), K size of one attention head.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Rotary(NamedTuple):
    """Tables for `rotate`, and which tokens attend to each other."""

    cosine: Tensor  # (N, 1, K), to be broadcast over heads
    signed_sine: Tensor  # (N, 1, K)
    groups: tuple[tuple[int, int], ...] = ()  # of packed samples: (samples, tokens of each); empty: all tokens attend
    causal: bool = False  # a token attends to itself and to those before it


def cell_index(canvas: tuple[int, int], full_width: int) -> Tensor:
    """The row-order index (H*W,) that each cell of a canvas has on the full canvas, `full_width` cells wide."""
    rows, columns = torch.arange(canvas[0]), torch.arange(canvas[1])
    return (rows[:, None] * full_width + columns).flatten()


def _frequencies(count: int, theta: float) -> Tensor:
    return theta ** -(torch.arange(count, dtype=torch.float32) / count)


def rope_angles(canvas: tuple[int, int], full_width: int, puzzle_tokens: int, head_size: int, theta: float) -> Tensor:
    """Angles (N, K/2) of the published positions: token numbers, 0 to P-1 for puzzle tokens, then the cells.

    A cell keeps its number on the full canvas, so a model trained there can run on a smaller one.
    """
    numbers = torch.cat([torch.arange(puzzle_tokens), puzzle_tokens + cell_index(canvas, full_width)])
    return numbers[:, None].float() * _frequencies(head_size // 2, theta)


def rope2d_angles(canvas: tuple[int, int], puzzle_tokens: int, head_size: int, theta: float) -> Tensor:
    """Angles (N, K/2) by (row, column): half of the frequencies encode the row, the rest the column.

    The angles of a cell do not depend on the canvas, so the same weights serve every size. Puzzle token i is at
    (-1-i, -1-i), on the diagonal outside the canvas.
    """
    apart = -1 - torch.arange(puzzle_tokens)
    rows = torch.cat([apart, torch.arange(canvas[0]).repeat_interleave(canvas[1])])
    columns = torch.cat([apart, torch.arange(canvas[1]).repeat(canvas[0])])
    half = head_size // 2
    by_row = rows[:, None].float() * _frequencies(half - half // 2, theta)
    by_column = columns[:, None].float() * _frequencies(half // 2, theta)
    return torch.cat([by_row, by_column], dim=1)


def rotary_tables(angles: Tensor) -> Rotary:
    """Tables of angles (N, K/2)."""
    cosine, sine = angles.cos(), angles.sin()
    return Rotary(torch.cat([cosine, cosine], dim=1)[:, None], torch.cat([-sine, sine], dim=1)[:, None])


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotate each pair (k, k + K/2) of x (B, N, heads, K) by the angle of its token (RoPE, rotate-half layout)."""
    cosine, signed_sine = rotary[:2]
    turned = x * cosine
    if turned.requires_grad or x.dtype != cosine.dtype or torch.compiler.is_compiling():
        # halves swapped by flip, not cat: less work on a CPU, and the compiler makes a single pass of it
        return torch.addcmul(turned, x.unflatten(-1, (2, -1)).flip(-2).flatten(-2), signed_sine)
    first, second = x.chunk(2, dim=-1)
    for half, other, sine in zip(turned.chunk(2, dim=-1), (second, first), signed_sine.chunk(2, dim=-1), strict=True):
        half.addcmul_(other, sine)  # the same, in place
    return turned
