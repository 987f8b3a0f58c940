"""tally.py in torch, on any device, without loops over samples or cells. Same names, arguments and errors.

Results are tensors on the device of the colours or keys; halting probabilities are float64.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from kernels.canvas import Decoder
from kernels.canvas_torch import integers, published_sizes, robust_sizes
from kernels.symmetry import BITS, COLOURS, MAX_SIDE, Array, turned_size, walk
from kernels.tally import HALTING_UNIT, SHAPE, ZOBRIST, Counts, check_predictions, check_votes, tally_with


def keys(colours: Tensor, sizes: Array, symmetry: Array, permutation: Array) -> Tensor:
    device = colours.device
    sizes, symmetry, permutation = integers(device, sizes, symmetry, permutation)
    check_predictions(colours, sizes, symmetry, permutation)
    bits = torch.tensor(BITS, device=device)[:, symmetry]
    height, width = sizes.unbind(1)  # as predicted
    restored = turned_size(bits, height, width)
    # Index into ZOBRIST of the restored cell that is cell (i, j) of the prediction.
    origin, down, right = (part[:, None, None] for part in walk(bits, *restored, MAX_SIDE))
    i = torch.arange(colours.shape[1], device=device)[:, None]  # (H, 1)
    j = torch.arange(colours.shape[2], device=device)  # (W,)
    outside = (i >= height[:, None, None]) | (j >= width[:, None, None])  # (B, H, W)
    colour = permutation.argsort(dim=1).gather(1, colours.flatten(1).long()).view(outside.shape)
    entry = ((origin + i * down + j * right) * COLOURS + colour).masked_fill_(outside, 0)
    cells = torch.tensor(ZOBRIST, device=device).flatten()[entry].masked_fill_(outside, 0)
    key = cells.sum(dim=(1, 2)) + torch.tensor(SHAPE, device=device)[restored]
    return key.masked_fill_((height * width) == 0, 0)


def count(group: Array, keys: Tensor, valid: Tensor, halting: Array) -> Counts:
    group, halting = (torch.as_tensor(value, device=keys.device) for value in (group, halting))
    check_votes(group, keys, valid, halting)
    sample = valid.nonzero()[:, 0]
    for value in (keys, group):  # group is the primary key; stable: equal pairs keep their order
        sample = sample[value[sample].argsort(stable=True)]
    group, keys = group[sample], keys[sample]
    changes = torch.ones_like(sample, dtype=torch.bool)
    changes[1:] = (group[1:] != group[:-1]) | (keys[1:] != keys[:-1])
    begin = changes.nonzero()[:, 0]
    candidate = changes.cumsum(0) - 1
    units = (halting[sample].double() * HALTING_UNIT).round().long()
    votes = torch.zeros_like(begin).index_add_(0, candidate, torch.ones_like(units))
    total = torch.zeros_like(begin).index_add_(0, candidate, units)
    order = sample[begin].argsort()
    begin, votes, total = begin[order], votes[order], total[order]
    return Counts(group[begin], keys[begin], sample[begin], votes, total.double() / (votes * HALTING_UNIT))


DECODERS: dict[Decoder, Callable[[Array], Array]] = {"robust": robust_sizes, "published": published_sizes}
tally = partial(tally_with, DECODERS, keys, count)
