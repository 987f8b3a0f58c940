"""tally.py in numba. Same names, arguments, results and errors.

Keys are computed in parallel over samples. The count is one pass through a hash table and takes little time beside
them.
"""

import numpy as np
from numba import prange

from kernels.canvas import Decoder, integers
from kernels.canvas_numba import published_sizes, robust_sizes
from kernels.jit import jit
from kernels.symmetry import BITS, COLOURS, INVERSE, turned_size, walk
from kernels.tally import HALTING_UNIT, SHAPE, ZOBRIST, Counts, check_predictions, check_votes, restore

__all__ = ["count", "keys", "restore", "tally"]

DECODERS = {"robust": robust_sizes, "published": published_sizes}


def keys(colours: np.ndarray, sizes: np.ndarray, symmetry: np.ndarray, permutation: np.ndarray) -> np.ndarray:
    """See kernels.tally.keys."""
    sizes, symmetry, permutation = integers(sizes, symmetry, permutation)
    check_predictions(colours, sizes, symmetry, permutation)
    back = BITS[:, INVERSE[symmetry]]
    origin, down, right = integers(*walk(back, sizes[:, 0], sizes[:, 1], colours.shape[2]))
    height, width = integers(*turned_size(back, sizes[:, 0], sizes[:, 1]))
    result = np.empty(len(colours), dtype=np.int64)
    canvases = np.ascontiguousarray(colours, dtype=np.uint8).reshape(len(colours), np.prod(colours.shape[1:]))
    _keys(canvases, origin, down, right, height, width, permutation, ZOBRIST, SHAPE, result)
    return result


def count(group: np.ndarray, keys: np.ndarray, valid: np.ndarray, halting: np.ndarray) -> Counts:
    """See kernels.tally.count."""
    check_votes(group, keys, valid, halting)
    group, keys = integers(group, keys)
    units = np.rint(np.asarray(halting, dtype=np.float64) * HALTING_UNIT).astype(np.int64)
    first, votes, total = _count(group, keys, np.ascontiguousarray(valid, dtype=bool), units)
    return Counts(group[first], keys[first], first, votes, total / (votes * HALTING_UNIT))


def tally(
    tokens: np.ndarray,
    colours: np.ndarray,
    symmetry: np.ndarray,
    permutation: np.ndarray,
    group: np.ndarray,
    halting: np.ndarray,
    decoder: Decoder = "robust",
) -> Counts:
    """See kernels.tally.tally."""
    sizes = DECODERS[decoder](tokens)
    return count(group, keys(colours, sizes, symmetry, permutation), sizes[:, 0] > 0, halting)


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


@jit()
def _count(group, keys, valid, units):  # type: ignore[no-untyped-def]
    """(first, votes, total units) of each candidate, by an open-addressing hash table that is at most half full."""
    samples = len(keys)
    slots = 2
    while slots < 2 * samples:
        slots *= 2
    candidate_in = np.full(slots, -1, dtype=np.int64)
    first = np.zeros(samples, dtype=np.int64)
    votes = np.zeros(samples, dtype=np.int64)
    total = np.zeros(samples, dtype=np.int64)
    candidates = 0
    for b in range(samples):
        if not valid[b]:
            continue
        slot = (keys[b] + group[b] * 0x1E3779B97F4A7C15) & (slots - 1)  # an odd factor spreads the groups
        candidate = candidate_in[slot]
        while candidate >= 0 and (keys[first[candidate]] != keys[b] or group[first[candidate]] != group[b]):
            slot = (slot + 1) & (slots - 1)
            candidate = candidate_in[slot]
        if candidate < 0:
            candidate = candidate_in[slot] = candidates
            first[candidate] = b
            candidates += 1
        votes[candidate] += 1
        total[candidate] += units[b]
    return first[:candidates], votes[:candidates], total[:candidates]
