"""tally.py in numba, parallel over samples. Same names, arguments, results and errors. The count is numpy's."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import prange

from kernels.canvas import Decoder, integers
from kernels.canvas_numba import published_sizes, robust_sizes
from kernels.jit import jit
from kernels.symmetry import BITS, COLOURS, INVERSE, Array, turned_size, walk
from kernels.tally import SHAPE, ZOBRIST, Counts, candidates_with, check_predictions, count


def keys(colours: np.ndarray, sizes: np.ndarray, symmetry: np.ndarray, permutation: np.ndarray) -> np.ndarray:
    sizes, symmetry, permutation = integers(sizes, symmetry, permutation)
    check_predictions(colours, sizes, symmetry, permutation)
    back = BITS[:, INVERSE[symmetry]]
    origin, down, right = integers(*walk(back, sizes[:, 0], sizes[:, 1], colours.shape[2]))
    height, width = integers(*turned_size(back, sizes[:, 0], sizes[:, 1]))
    result = np.empty(len(colours), dtype=np.int64)
    canvases = np.ascontiguousarray(colours, dtype=np.uint8).reshape(len(colours), np.prod(colours.shape[1:]))
    _keys(canvases, origin, down, right, height, width, permutation, ZOBRIST, SHAPE, result)
    return result


DECODERS: dict[Decoder, Callable[[Array], Array]] = {"robust": robust_sizes, "published": published_sizes}
candidates = partial(candidates_with, DECODERS, keys, count)


def tally(*predictions: Array, **more: Any) -> Counts:
    return candidates(*predictions, **more)[0]


@jit()
def _key(colours, origin, down, right, height, width, permutation, zobrist, shape):  # type: ignore[no-untyped-def]
    if height * width == 0:
        return np.int64(0)
    inverse = np.empty(COLOURS, dtype=np.uint8)
    for colour in range(COLOURS):
        inverse[permutation[colour]] = colour
    key = shape[height, width]
    for i in range(height):
        address, line = origin + i * down, zobrist[i]
        for j in range(width):  # an unsigned index needs no check for negative values: three times as fast
            key += line[j, inverse[colours[np.uint64(address + j * right)]]]
    return key


@jit(parallel=True)
def _keys(colours, origin, down, right, height, width, permutation, zobrist, shape, result):  # type: ignore[no-untyped-def]
    for b in prange(len(colours)):
        result[b] = _key(colours[b], origin[b], down[b], right[b], height[b], width[b], permutation[b], zobrist, shape)
