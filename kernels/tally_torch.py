"""tally.py in torch, on any device, without loops over samples or cells. Same names, arguments and errors.

Results are tensors on the device of the colours or keys; halting probabilities are float64. `keys` and `count` check
their arguments, which waits for the device; `candidates` and `tally` check only what is on the host, and wait once.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernels.canvas import Decoder, require_augmentation
from kernels.canvas_torch import integers, published_sizes, robust_sizes
from kernels.symmetry import BITS, COLOURS, MAX_SIDE, Array, turned_size, walk
from kernels.tally import HALTING_UNIT, SHAPE, ZOBRIST, Counts, candidates_with, check_predictions, check_votes
from kernels.upload import upload


@cache
def _tables(device: torch.device) -> tuple[Tensor, ...]:
    """ZOBRIST, flat, and SHAPE."""
    return upload(device, ZOBRIST.ravel(), SHAPE)


def _on(device: torch.device, *values: Array) -> list[Tensor]:
    return [value if isinstance(value, Tensor) else torch.from_numpy(value).to(device) for value in values]


def keys(colours: Tensor, sizes: Array, symmetry: Array, permutation: Array) -> Tensor:
    (sizes,) = _on(colours.device, sizes)
    check_predictions(colours, sizes, *integers(symmetry, permutation))
    return _keys(colours, sizes, symmetry, permutation)


def _keys(colours: Tensor, sizes: Tensor, symmetry: Array, permutation: Array) -> Tensor:
    device = colours.device
    symmetry, permutation = integers(symmetry, permutation)
    require_augmentation(len(colours), symmetry, permutation)
    bits, inverse = upload(device, BITS[:, symmetry], np.argsort(permutation, axis=1))
    zobrist, shape = _tables(device)
    height, width = sizes.long().unbind(1)  # as predicted
    restored = turned_size(bits, height, width)
    # Index into ZOBRIST of the restored cell that is cell (i, j) of the prediction.
    origin, down, right = (part[:, None, None] for part in walk(bits, *restored, MAX_SIDE))
    i = torch.arange(colours.shape[1], device=device)[:, None]  # (H, 1)
    j = torch.arange(colours.shape[2], device=device)  # (W,)
    outside = (i >= height[:, None, None]) | (j >= width[:, None, None])  # (B, H, W)
    colour = inverse.gather(1, colours.flatten(1).long()).view(outside.shape)
    entry = ((origin + i * down + j * right) * COLOURS + colour).masked_fill_(outside, 0)
    cells = zobrist[entry].masked_fill_(outside, 0)
    key = cells.sum(dim=(1, 2)) + shape[restored]
    return key.masked_fill_((height * width) == 0, 0)


def count(group: Array, keys: Tensor, valid: Tensor, halting: Array) -> Counts:
    group, halting = _on(keys.device, group, halting)
    check_votes(group, keys, valid, halting)
    return _count(group, keys, valid, halting)


def _count(group: Array, keys: Tensor, valid: Tensor, halting: Tensor) -> Counts:
    group = group if isinstance(group, Tensor) else upload(keys.device, group)[0]
    order = keys.argsort(stable=True)
    for value in (group, (~valid).byte()):  # invalid ones last, then by group; stable: equal pairs keep their order
        order = order[value[order].argsort(stable=True)]
    group, keys, valid = group[order], keys[order], valid[order]
    changes = valid.clone()
    changes[1:] &= (group[1:] != group[:-1]) | (keys[1:] != keys[:-1])
    begin = changes.nonzero()[:, 0]  # waits: the number of results is known only now
    candidate = (changes.cumsum(0) - 1).clamp(min=0)
    units = (halting[order].double() * HALTING_UNIT).round().long() * valid
    votes = torch.zeros_like(candidate).index_add_(0, candidate, valid.long())
    total = torch.zeros_like(candidate).index_add_(0, candidate, units)
    first = order[begin].argsort()
    begin, votes, total = begin[first], votes[first], total[first]
    return Counts(group[begin], keys[begin], order[begin], votes, total.double() / (votes * HALTING_UNIT))


DECODERS: dict[Decoder, Callable[[Array], Array]] = {"robust": robust_sizes, "published": published_sizes}
candidates = partial(candidates_with, DECODERS, _keys, _count)


def tally(*predictions: Array, **more: Any) -> Counts:
    return candidates(*predictions, **more)[0]
