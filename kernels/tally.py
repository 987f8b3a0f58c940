"""Counting equal grids among augmented predictions: the reference in numpy. The same in tally_numba.py, tally_torch.py.

A prediction is a canvas of colours and a grid size, in the symmetry and colours of its variant. Its key is a hash of
the grid with both undone, so predictions agree if their keys are equal.
Letters: B samples, (H, W) the canvas, (h, w) a grid, K distinct candidates.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from kernels.canvas import (
    Decoder,
    check_tokens,
    integers,
    published_sizes,
    require,
    require_augmentation,
    require_shape,
    robust_sizes,
)
from kernels.symmetry import COLOURS, INVERSE, MAX_SIDE, Array, apply_symmetry

DECODERS: dict[Decoder, Callable[[Array], Array]] = {"robust": robust_sizes, "published": published_sizes}

# Zobrist hashing with a sum modulo 2**64 instead of xor, because torch has no xor reduction: one random number per
# (row, column, colour) and one per shape. The raw stream of a bit generator is the same in every numpy version.
_RANDOM = np.random.PCG64(20251004).random_raw(MAX_SIDE * MAX_SIDE * COLOURS + (MAX_SIDE + 1) ** 2).view(np.int64)
ZOBRIST = _RANDOM[: MAX_SIDE * MAX_SIDE * COLOURS].reshape(MAX_SIDE, MAX_SIDE, COLOURS)
SHAPE = _RANDOM[MAX_SIDE * MAX_SIDE * COLOURS :].reshape(MAX_SIDE + 1, MAX_SIDE + 1)  # [height, width]

HALTING_UNIT = 2.0**40  # probabilities are summed as integer multiples of 2**-40, so that the order does not matter


class Counts(NamedTuple):
    """The K distinct (group, key) pairs in order of first occurrence; every array has shape (K,)."""

    group: Array  # int64
    key: Array  # int64
    first: Array  # int64, first sample with this key
    votes: Array  # int64, number of samples
    halting: Array  # float64, their mean halting probability


def restore(colours_b: np.ndarray, size: np.ndarray, symmetry: int, permutation: np.ndarray) -> np.ndarray:
    """The grid of `size` at the origin of one canvas (H, W), with permutation and symmetry undone: 2-D uint8."""
    grid = np.asarray(colours_b, dtype=np.uint8)[: size[0], : size[1]]
    return apply_symmetry(np.argsort(permutation).astype(np.uint8)[grid], INVERSE[symmetry])


def keys(colours: np.ndarray, sizes: np.ndarray, symmetry: np.ndarray, permutation: np.ndarray) -> np.ndarray:
    """Keys int64 (B,) of the restored grids: the sum of ZOBRIST over the cells plus SHAPE, modulo 2**64.

    `colours` (B, H, W) 0 to 9, `sizes` (B, 2); `symmetry` (B,) and `permutation` (B, 10) as applied at encoding. An
    empty grid has key 0. Raises ValueError for values out of range.
    """
    sizes, symmetry, permutation = integers(sizes, symmetry, permutation)
    check_predictions(colours, sizes, symmetry, permutation)
    result = np.zeros(len(colours), dtype=np.int64)
    for b in np.flatnonzero(sizes.all(axis=1)):
        grid = restore(colours[b], sizes[b], symmetry[b], permutation[b])
        rows, columns = np.indices(grid.shape)
        result[b] = np.append(ZOBRIST[rows, columns, grid], SHAPE[grid.shape]).sum()  # int64 array sums wrap silently
    return result


def count(group: np.ndarray, keys: np.ndarray, valid: np.ndarray, halting: np.ndarray) -> Counts:
    """How often each key occurs in each group among the valid samples, and its mean halting probability.

    `group`, `keys` int64 (B,), `valid` bool (B,), `halting` float (B,) from 0 to 1, rounded to 2**-40; ValueError
    otherwise. The numpy, numba and torch versions agree to the last bit.
    """
    check_votes(group, keys, valid, halting)
    sample = np.flatnonzero(valid)
    sample = sample[np.lexsort((keys[sample], group[sample]))]  # stable: equal pairs keep their order
    group, keys = group[sample], keys[sample]
    changes = np.ones(len(sample), dtype=bool)
    changes[1:] = (group[1:] != group[:-1]) | (keys[1:] != keys[:-1])
    begin = np.flatnonzero(changes)
    units = np.rint(np.asarray(halting, dtype=np.float64)[sample] * HALTING_UNIT).astype(np.int64)
    votes = np.diff(begin, append=len(sample))
    mean = np.add.reduceat(units, begin) / (votes * HALTING_UNIT) if len(begin) else np.empty(0)
    order = np.argsort(sample[begin])
    begin = begin[order]
    return Counts(group[begin], keys[begin], sample[begin], votes[order], mean[order])


def candidates_with(
    decoders: Mapping[Decoder, Callable[[Array], Array]],
    keys: Callable[[Array, Array, Array, Array], Array],
    count: Callable[[Array, Array, Array, Array], Counts],
    tokens: Array,
    colours: Array,
    symmetry: Array,
    permutation: Array,
    group: Array,
    halting: Array,
    decoder: Decoder = "robust",
) -> tuple[Counts, Array, Array]:
    """Decode, hash and count: tokens (B, H, W) give the sizes, colours (B, H, W) the cells. Empty grids are dropped.

    Returns the counts, and the sizes (K, 2) and colours (K, H, W) of the first prediction of each, as for `restore`.
    """
    sizes = decoders[decoder](tokens)
    counts = count(group, keys(colours, sizes, symmetry, permutation), sizes[:, 0] > 0, halting)
    return counts, sizes[counts.first], colours[counts.first]


candidates = partial(candidates_with, DECODERS, keys, count)


def tally(*predictions: Array, **more: Any) -> Counts:
    """The counts alone; the arguments of `candidates`."""
    return candidates(*predictions, **more)[0]


# Shared by the numpy, numba and torch versions: checks that work on arrays and tensors alike.


def check_predictions(colours: Array, sizes: Array, symmetry: Array, permutation: Array) -> None:
    """Raise ValueError unless these are valid arguments of `keys`; the last three are int64."""
    check_tokens(colours)
    samples, height, width = colours.shape
    require_shape("sizes", (samples, 2), sizes)
    require((sizes >= 0).all(-1) & (sizes[:, 0] <= height) & (sizes[:, 1] <= width), "size", "within the canvas", sizes)
    require_augmentation(samples, symmetry, permutation)
    if samples and not 0 <= colours.min() <= colours.max() < COLOURS:
        raise ValueError(f"colours: expected 0 to {COLOURS - 1}, got {int(colours.min())} to {int(colours.max())}")


def check_votes(group: Array, keys: Array, valid: Array, halting: Array) -> None:
    for what, value in (("keys", keys), ("valid", valid), ("halting", halting)):
        require_shape(what, tuple(group.shape), value)
    require((halting >= 0) & (halting <= 1), "halting", "a probability", halting)
