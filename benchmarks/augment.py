"""How many augmented pairs a second become tokens: input and label canvases, random 30x30 grids, every twin."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from kernels import canvas, canvas_numba, canvas_torch
from kernels.canvas import IGNORE, PackedGrids, pack
from kernels.symmetry import COLOURS, MAX_SIDE, SYMMETRIES, random_permutations
from kernels.yardstick import Yardstick

GRIDS = 256
PAIRS = {"numpy": 1_000, "numba": 16_384, "torch": 1_024}  # a call; enough that a call's overhead does not show


def best_rate(call: Callable[[], Any], samples: int, repetitions: int) -> float:
    """Samples a second in the fastest of several calls, after one that warms up (and compiles)."""
    call()
    durations = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        call()
        durations.append(time.perf_counter() - begin)
    return samples / min(durations)


def rows(stick: Yardstick, quick: bool) -> list[dict[str, Any]]:
    """One row a twin: `per_second` counts pairs (an input and a label canvas) on the CPU's cores."""
    rng = np.random.default_rng(0)
    grids = pack(list(rng.integers(0, COLOURS, (GRIDS, MAX_SIDE, MAX_SIDE), dtype=np.uint8)))
    tensors = canvas_torch.to_device(grids, torch.device("cpu"))
    twins: dict[str, tuple[Callable[..., Any], PackedGrids]] = {
        "numpy": (canvas.encode, grids),
        "numba": (canvas_numba.encode, grids),
        "torch": (canvas_torch.encode, tensors),
    }
    table = []
    for twin, (encode, packed) in twins.items():
        pairs = PAIRS[twin] // 4 if quick else PAIRS[twin]
        index = rng.integers(0, GRIDS, (2, pairs))
        symmetry = rng.integers(0, SYMMETRIES, pairs)
        permutation = random_permutations(pairs, rng)
        offset = np.zeros(pairs, dtype=np.int64)

        def call(encode=encode, packed=packed, index=index, shared=(symmetry, permutation, offset, offset)) -> None:  # type: ignore[no-untyped-def]
            encode(packed, index[0], *shared, (MAX_SIDE, MAX_SIDE))
            encode(packed, index[1], *shared, (MAX_SIDE, MAX_SIDE), IGNORE)

        rate = best_rate(call, pairs, 3 if quick else 10)
        stick.measure()
        table.append({"canvas": "30x30", "twin": twin, "per_second": rate, "what": "pairs"})
    return table
