"""The yardstick: the speed of this machine's matrix product, so that rates compare across machines."""

import time

import torch

SIDES = {"cpu": 2048, "cuda": 8192}  # a small product does not fill a card


def gemm_gflops(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """GFLOP/s of `torch.mm` on square matrices, 2048 x 2048 on a CPU and 8192 x 8192 on a card: the best of five."""
    cuda = torch.device(device).type == "cuda"
    side = SIDES["cuda" if cuda else "cpu"]
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    durations = []
    for _ in range(6):  # the first one warms up
        begin = time.perf_counter()
        torch.mm(a, b)
        if cuda:
            torch.cuda.synchronize(a.device)
        durations.append(time.perf_counter() - begin)
    return 2 * side**3 / min(durations[1:]) / 1e9
