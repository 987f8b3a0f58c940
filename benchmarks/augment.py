"""Augmented pairs encoded per second: input and label canvases of random 30x30 grids, in numpy, numba and torch."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from kernels import canvas, canvas_numba, canvas_torch
from kernels.canvas import IGNORE, PackedGrids, pack
from kernels.symmetry import COLOURS, MAX_SIDE, SYMMETRIES, random_permutations

GRIDS = 256
PAIRS = {"numpy": 1_000, "numba": 16_384, "torch": 1_024}  # per call; enough to hide the overhead of a call


def best_rate(call: Callable[[], Any], samples: int, repetitions: int) -> float:
    """Samples per second in the fastest of several calls, after one that warms up (and compiles)."""
    call()
    durations = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        call()
        durations.append(time.perf_counter() - begin)
    return samples / min(durations)


def rows(quick: bool) -> Iterator[dict[str, Any]]:
    """One row per version: `per_second` counts pairs (an input and a label canvas) on the CPU."""
    rng = np.random.default_rng(0)
    grids = pack(list(rng.integers(0, COLOURS, (GRIDS, MAX_SIDE, MAX_SIDE), dtype=np.uint8)))
    for twin, module in {"numpy": canvas, "numba": canvas_numba, "torch": canvas_torch}.items():
        pairs = PAIRS[twin] // 4 if quick else PAIRS[twin]
        offset = np.zeros(pairs, dtype=np.int64)
        call = partial(
            _encode_pairs,
            module.encode,
            canvas_torch.to_device(grids, torch.device("cpu")) if twin == "torch" else grids,
            rng.integers(0, GRIDS, (2, pairs)),
            symmetry=rng.integers(0, SYMMETRIES, pairs),
            permutation=random_permutations(pairs, rng),
            row=offset,
            column=offset,
            canvas=(MAX_SIDE, MAX_SIDE),
        )
        rate = best_rate(call, pairs, 3 if quick else 10)
        yield {"canvas": "30x30", "twin": twin, "per_second": rate, "what": "pairs"}


def _encode_pairs(encode: Callable[..., Any], grids: PackedGrids, index: np.ndarray, **variant: Any) -> None:
    encode(grids, index[0], **variant)
    encode(grids, index[1], padding=IGNORE, **variant)
