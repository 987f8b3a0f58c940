"""Augmented pairs encoded per second: input and label canvases of random 30x30 grids, in numpy, numba and torch."""

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Setup
from kernels import canvas, canvas_numba, canvas_torch
from kernels.canvas import IGNORE, PackedGrids, pack
from kernels.symmetry import COLOURS, MAX_SIDE, SYMMETRIES, random_permutations

GRIDS = 256
BATCH = {"numpy": 1_000, "numba": 16_384, "torch": 1_024, "card": 16_384}  # enough to hide the overhead of a call


def rows(setup: Setup) -> Iterator[dict[str, Any]]:
    """One row per version: `per_second` counts pairs (an input and a label canvas); on a card only torch's."""
    rng, device = np.random.default_rng(0), setup.device
    grids = pack(list(rng.integers(0, COLOURS, (GRIDS, MAX_SIDE, MAX_SIDE), dtype=np.uint8)))
    for twin, module in twins({"numpy": canvas, "numba": canvas_numba, "torch": canvas_torch}, device):
        pairs = batch(twin, setup)
        offset = np.zeros(pairs, dtype=np.int64)
        call = partial(
            _encode_pairs,
            module.encode,
            canvas_torch.to_device(grids, device) if twin == "torch" else grids,
            rng.integers(0, GRIDS, (2, pairs)),
            symmetry=rng.integers(0, SYMMETRIES, pairs),
            permutation=random_permutations(pairs, rng),
            row=offset,
            column=offset,
            canvas=(MAX_SIDE, MAX_SIDE),
        )
        yield {"canvas": "30x30", "twin": twin, **timed(setup, twin, call, pairs), "what": "pairs"}


def twins(modules: dict[str, ModuleType], device: torch.device) -> list[tuple[str, ModuleType]]:
    """Those that run on the device."""
    return [(twin, module) for twin, module in modules.items() if twin == "torch" or device.type == "cpu"]


def batch(twin: str, setup: Setup) -> int:
    """Samples per call."""
    samples = BATCH[twin if setup.device.type == "cpu" else "card"]
    return samples // 4 if setup.quick else samples


def timed(setup: Setup, twin: str, call: Callable[[], Any], samples: int) -> dict[str, Any]:
    """Samples per second of a call; of torch's also launches per call and bytes per sample."""
    rate = setup.best_rate(call, samples, 1 if setup.quick else 10)
    costs = setup.costs(call) if twin == "torch" else {"launches": 0, "bytes": 0}
    return {"batch": samples, "per_second": rate, "launches": costs["launches"], "bytes": costs["bytes"] / samples}


def _encode_pairs(encode: Callable[..., Any], grids: PackedGrids, index: np.ndarray, **variant: Any) -> None:
    encode(grids, index[0], **variant)
    encode(grids, index[1], padding=IGNORE, **variant)
