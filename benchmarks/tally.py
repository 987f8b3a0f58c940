"""Augmented predictions decoded and counted per second: 30x30 canvases, in numpy, numba and torch, both decoders."""

from collections.abc import Iterator
from functools import partial
from typing import Any, get_args

import numpy as np
import torch

from benchmarks.augment import batch, timed, twins
from benchmarks.measure import Setup
from kernels import canvas_numba, tally, tally_numba, tally_torch
from kernels.canvas import Decoder, colours_of, pack
from kernels.symmetry import COLOURS, MAX_SIDE, SYMMETRIES, random_permutations

GROUPS = 200
CANDIDATES = 20  # distinct grids per group


def predictions(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The arguments of `tally` for `count` predictions: augmented candidates, with unequal numbers of votes."""
    grids = pack(list(rng.integers(0, COLOURS, (GROUPS * CANDIDATES, MAX_SIDE, MAX_SIDE), dtype=np.uint8)))
    group = rng.integers(0, GROUPS, count)
    index = group * CANDIDATES + (CANDIDATES * rng.random(count) ** 3).astype(np.int64)
    variant = {"symmetry": rng.integers(0, SYMMETRIES, count), "permutation": random_permutations(count, rng)}
    offset = np.zeros(count, dtype=np.int64)
    tokens = canvas_numba.encode(grids, index, row=offset, column=offset, canvas=(MAX_SIDE, MAX_SIDE), **variant)
    return {"tokens": tokens, "colours": colours_of(tokens), "group": group, "halting": rng.random(count), **variant}


def rows(setup: Setup) -> Iterator[dict[str, Any]]:
    """One row per version and decoder: `per_second` counts predictions; on a card only torch's."""
    rng = np.random.default_rng(0)
    for twin, module in twins({"numpy": tally, "numba": tally_numba, "torch": tally_torch}, setup.device):
        arguments: dict[str, Any] = predictions(batch(twin, setup), rng)
        if twin == "torch":  # predictions are where the network left them, variants on the host
            on_device = {name: torch.from_numpy(arguments[name]) for name in ("tokens", "colours", "halting")}
            arguments |= {name: tensor.to(setup.device) for name, tensor in on_device.items()}
        for decoder in get_args(Decoder):
            call = partial(module.tally, **arguments, decoder=decoder)
            figures = timed(setup, twin, call, batch(twin, setup))
            yield {"canvas": "30x30", "twin": twin, "decoder": decoder, **figures, "what": "predictions"}
