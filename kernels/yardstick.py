"""The yardstick: the speed of this machine's matrix product, so that rates compare across machines."""

import time

import torch

SIDE = 2048


def gemm_gflops(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """GFLOP/s of `torch.mm` on 2048 x 2048 matrices: the best of five."""
    a, b = torch.randn(2, SIDE, SIDE, device=device).to(dtype)
    cuda = a.device.type == "cuda"
    durations = []
    for _ in range(6):  # the first one warms up
        begin = time.perf_counter()
        torch.mm(a, b)
        if cuda:
            torch.cuda.synchronize(a.device)
        durations.append(time.perf_counter() - begin)
    return 2 * SIDE**3 / min(durations[1:]) / 1e9
