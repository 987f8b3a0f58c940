"""Grids on canvases of tokens: the reference in numpy. The same in canvas_numba.py and canvas_torch.py.

Tokens: 0 padding, 1 end of grid, 2 to 11 the colours 0 to 9.
Letters: G grids, B samples, (H, W) the canvas, (h, w) a grid.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from kernels.symmetry import BITS, COLOURS, MAX_SIDE, SYMMETRIES, Array, apply_symmetry, turned_size, walk

PAD = 0
END_OF_GRID = 1
FIRST_COLOUR = 2
VOCABULARY = FIRST_COLOUR + COLOURS
IGNORE = -100  # label of a token without a loss

Decoder = Literal["robust", "published"]
Canvas = tuple[int, int]  # (height, width) in cells


class PackedGrids(NamedTuple):
    """G grids of any sizes, concatenated in row order. Numpy arrays; for canvas_torch the cells are a tensor."""

    cells: Array  # uint8 (total,), colours 0 to 9
    start: Array  # int64 (G,), index of the first cell
    height: Array  # int32 (G,), 1 to 30
    width: Array  # int32 (G,), 1 to 30


def pack(grids: Sequence[np.ndarray]) -> PackedGrids:
    """Pack 2-D arrays of colours 0 to 9 with sides of 1 to 30. Raises ValueError that names the first invalid grid."""
    arrays = [np.asarray(grid) for grid in grids]
    for number, array in enumerate(arrays):
        if array.ndim != 2 or not all(1 <= side <= MAX_SIDE for side in array.shape):
            raise ValueError(f"grid {number}: expected 2 axes of 1 to {MAX_SIDE} cells, got shape {array.shape}")
        if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() >= COLOURS:
            raise ValueError(f"grid {number}: expected integers 0 to {COLOURS - 1}, got {np.unique(array).tolist()}")
    sizes = np.array([array.size for array in arrays], dtype=np.int64)
    return PackedGrids(
        cells=np.concatenate([np.empty(0, np.uint8), *(array.astype(np.uint8).ravel() for array in arrays)]),
        start=np.cumsum(sizes) - sizes,
        height=np.array([array.shape[0] for array in arrays], dtype=np.int32),
        width=np.array([array.shape[1] for array in arrays], dtype=np.int32),
    )


def unpack(grids: PackedGrids, i: int) -> np.ndarray:
    """Grid `i` as a (h, w) uint8 view."""
    start, height, width = int(grids.start[i]), int(grids.height[i]), int(grids.width[i])
    return grids.cells[start : start + height * width].reshape(height, width)


def encode(
    grids: PackedGrids,
    index: np.ndarray,
    symmetry: np.ndarray,
    permutation: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    canvas: tuple[int, int],
    padding: int = PAD,
) -> np.ndarray:
    """Tokens int8 (B, H, W): grid index[b] after symmetry[b] and permutation[b], placed at (row[b], column[b]).

    END_OF_GRID fills the row below the grid and the column right of it, along its sides, as far as they lie on the
    canvas; their corner is left out. The rest is `padding`: PAD, or IGNORE in labels. permutation (B, 10), the other
    arrays (B,), `canvas` = (H, W). Raises ValueError that names the first sample with an invalid value or a grid that
    does not fit the canvas.
    """
    index, symmetry, permutation, row, column = integers(index, symmetry, permutation, row, column)
    placement(BITS, grids, index, symmetry, permutation, row, column, canvas)  # for its checks
    tokens = np.full((len(index), *canvas), padding, dtype=np.int8)
    for b in range(len(index)):
        grid = permutation[b][apply_symmetry(unpack(grids, index[b]), symmetry[b])]
        bottom, right = row[b] + grid.shape[0], column[b] + grid.shape[1]
        tokens[b, row[b] : bottom, column[b] : right] = grid + FIRST_COLOUR
        tokens[b, bottom : bottom + 1, column[b] : right] = END_OF_GRID  # empty if outside the canvas
        tokens[b, row[b] : bottom, right : right + 1] = END_OF_GRID
    return tokens


def published_sizes(tokens: np.ndarray) -> np.ndarray:
    """Sizes int32 (B, 2), (height, width), of the grids in tokens (B, H, W), by the rule of the published code.

    The largest rectangle at the origin that holds only colours; the smallest height among equals; (0, 0) if the origin
    holds no colour.
    """
    check_tokens(tokens)
    run = np.logical_and.accumulate(tokens >= FIRST_COLOUR, axis=2).sum(axis=2)  # (B, H) leading colours per row
    width = np.minimum.accumulate(run, axis=1)  # (B, H) of the rectangle down to this row
    area = width * np.arange(1, tokens.shape[1] + 1)
    last = area.argmax(axis=1)  # the first of equals
    width = np.take_along_axis(width, last[:, None], axis=1)[:, 0]
    return np.stack([np.where(width > 0, last + 1, 0), width], axis=1).astype(np.int32)


def robust_sizes(tokens: np.ndarray) -> np.ndarray:
    """Sizes int32 (B, 2), (height, width), of the grids in tokens (B, H, W), by a rule that tolerates stray tokens.

    The loss covers the cells of a grid and the END_OF_GRID beside it, never the padding, so the network's output there
    is arbitrary. A rectangle (h, w) at the origin is therefore judged only by the tokens that would have had a loss. A
    token contradicts it if it lies (1) inside and is not a colour; (2) in the row below, columns 0 to w-1, and is not
    END_OF_GRID; (3) in the column to the right, rows 0 to h-1, and is not END_OF_GRID. Tokens off the canvas do not
    exist and contradict nothing.

    The rectangle with the fewest contradictions wins; among equals the larger area, then the smaller height. A small
    rectangle has few tokens that could contradict it, so 1x1 would beat any grid with three stray tokens. Two rules
    prevent that:
    - At least half of the cells must be colours. If no rectangle has that, the size is (0, 0), no grid.
    - Rectangles with a denied side come last. A side is denied if at least half, and more than one, of the tokens
      below, or right, or of both together contradict. More than one, so that a single stray token denies no side.
    As a result a grid of 3x3 or more survives any single stray token, whatever the padding holds: without it, nothing
    contradicts the grid, at least two tokens contradict every smaller rectangle within it, at least three any other.
    """
    check_tokens(tokens)
    height = np.arange(1, tokens.shape[1] + 1)[:, None]  # (H, 1)
    width = np.arange(1, tokens.shape[2] + 1)  # (W,)
    inside = (tokens < FIRST_COLOUR).cumsum(axis=1).cumsum(axis=2)  # (B, H, W): in the rectangle that ends here
    below, right = np.zeros_like(inside), np.zeros_like(inside)
    below[:, :-1] = (tokens[:, 1:] != END_OF_GRID).cumsum(axis=2)
    right[:, :, :-1] = (tokens[:, :, 1:] != END_OF_GRID).cumsum(axis=1)
    length_below = width * (height < tokens.shape[1])  # (H, W)
    length_right = height * (width < tokens.shape[2])
    denied = np.zeros_like(inside, dtype=bool)
    for against, length in ((below, length_below), (right, length_right), (below + right, length_below + length_right)):
        denied |= (2 * against >= length) & (against > 1)
    chosen = 2 * inside <= height * width
    for cost in (denied, inside + below + right, -height * width, height):
        least = np.where(chosen, cost, 4 * MAX_SIDE**2).min(axis=(1, 2), keepdims=True)
        chosen &= cost == least
    return np.stack([(chosen * height).max(axis=(1, 2)), (chosen * width).max(axis=(1, 2))], axis=1).astype(np.int32)


def colours_of(tokens: np.ndarray) -> np.ndarray:
    """Colours uint8 of tokens of any shape; tokens that are not colours become 0."""
    return (np.maximum(tokens, FIRST_COLOUR) - FIRST_COLOUR).astype(np.uint8)


# Shared by the numpy, numba and torch versions: arithmetic and checks that work on arrays and tensors alike.


def integers(*values: Array) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(value, dtype=np.int64) for value in values)


def require(holds: Array, what: str, expected: str, got: Array) -> None:
    """Raise ValueError for the first sample where `holds` (B,) is False."""
    if not bool(holds.all()):
        sample = int((~holds).nonzero()[0][0])
        raise ValueError(f"sample {sample}: {what}: expected {expected}, got {got[sample].tolist()}")


def require_shape(what: str, expected: tuple[int, ...], got: Array) -> None:
    if tuple(got.shape) != expected:
        raise ValueError(f"{what}: expected shape {expected}, got {tuple(got.shape)}")


def require_augmentation(samples: int, symmetry: Array, permutation: Array) -> None:
    """Raise ValueError unless int64 `symmetry` (B,) is 0 to 7 and each row of `permutation` (B, 10) permutes 0 to 9."""
    require_shape("symmetry", (samples,), symmetry)
    require_shape("permutation", (samples, COLOURS), permutation)
    require((symmetry >= 0) & (symmetry < SYMMETRIES), "symmetry", "0 to 7", symmetry)
    in_range = ((permutation >= 0) & (permutation < COLOURS)).all(-1)
    # Ten powers of two sum to 0b1111111111 only if all differ: two equal ones carry and leave fewer bits set.
    every = (1 << permutation * in_range[:, None]).sum(-1) == (1 << COLOURS) - 1
    require(in_range & every, "permutation", "each of 0 to 9 once", permutation)


def check_tokens(tokens: Array) -> None:
    """Raise ValueError unless tokens have shape (B, H, W) with H and W from 1 to 30."""
    if tokens.ndim != 3 or not all(1 <= side <= MAX_SIDE for side in tokens.shape[1:]):
        raise ValueError(f"tokens: expected shape (B, H, W), H and W 1 to {MAX_SIDE}, got {tuple(tokens.shape)}")


def placement(
    bits: Array,
    grids: PackedGrids,
    index: Array,
    symmetry: Array,
    permutation: Array,
    row: Array,
    column: Array,
    canvas: tuple[int, int],
) -> tuple[Array, Array, Array, Array, Array]:
    """Check the arguments of `encode` (int64) and say how to read its grids. `bits` is BITS on their device.

    Returns (origin, down, right, height, width), (B,) each: cell (i, j) of the transformed grid, which has this height
    and width, is cells[origin + i * down + j * right].
    """
    samples = len(index)
    for what, value in (("index", index), ("row", row), ("column", column)):
        require_shape(what, (samples,), value)
    require_augmentation(samples, symmetry, permutation)
    require((index >= 0) & (index < len(grids.start)), "index", f"0 to {len(grids.start) - 1}", index)
    source_height, source_width = grids.height[index], grids.width[index]
    origin, down, right = walk(bits[:, symmetry], source_height, source_width, source_width)
    height, width = turned_size(bits[:, symmetry], source_height, source_width)
    for side, offset, size, limit in (("rows", row, height, canvas[0]), ("columns", column, width, canvas[1])):
        require(offset >= 0, f"{side} of offset", "0 or more", offset)
        require(offset + size <= limit, f"{side} of offset + grid", f"at most {limit}", offset + size)
    return grids.start[index] + origin, down, right, height, width
