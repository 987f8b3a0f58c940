"""How benchmarks measure: on which device, in which precision, and what a call costs there."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
COPIES = {aten._to_copy, aten.copy_}
NO_LAUNCH = {aten._unsafe_view, aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided}
"""Operators that, like views, run nothing on a device."""

CUDA_LAUNCHES = ("cudaLaunch", "cuLaunch", "cudaMemcpyAsync", "cudaMemsetAsync", "cudaGraphLaunch")


@dataclass(frozen=True)
class Setup:
    """Where and how a benchmark runs."""

    device: torch.device = torch.device("cpu")  # noqa: RUF009 (immutable)
    autocast: torch.dtype | None = None  # precision of the forward pass; None: float32
    quick: bool = False  # fewer repetitions and small widths

    @property
    def dtype(self) -> torch.dtype:
        return self.autocast or torch.float32

    def best_rate(self, call: Callable[[], Any], samples: int, repetitions: int) -> float:
        """Samples per second in the fastest of several calls, after one that warms up (and compiles)."""
        call()
        durations = []
        for _ in range(repetitions):
            self.wait()
            begin = time.perf_counter()
            call()
            self.wait()
            durations.append(time.perf_counter() - begin)
        return samples / min(durations)

    def wait(self) -> None:
        """Until the device has done what was launched."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def costs(self, call: Callable[[], Any]) -> dict[str, int]:
        """Launches of a call, and the bytes that cross between host and device.

        On CUDA launches are what the profiler sees, compiled or not. Elsewhere they are operators, uncompiled.
        """
        with Counting(self.device) as counts:  # which takes the place of compiled code
            call()
        if self.device.type != "cuda":
            return {"launches": counts.launches, "bytes": counts.bytes}
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            call()
            self.wait()
        launches = sum(event.count for event in profiled.key_averages() if event.key.startswith(CUDA_LAUNCHES))
        return {"launches": launches, "bytes": counts.bytes}


class Counting(TorchDispatchMode):
    """Counts the operators that run on a device, and the bytes that are copied to and from it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.launches = self.bytes = 0
        self._device = device.type

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        made = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, made)) if isinstance(leaf, torch.Tensor)]
        places = {tensor.device.type for tensor in tensors}
        if self._device in places and not func.is_view and func.overloadpacket not in NO_LAUNCH:
            self.launches += 1
            if len(places) > 1 and func.overloadpacket in COPIES:
                self.bytes += made.nbytes
        return made
