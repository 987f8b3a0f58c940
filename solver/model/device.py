"""Choice of device and precision."""

import math
from pathlib import Path

import torch

from solver.common.checks import InputError
from solver.settings.config import Precision

OUT_OF_MEMORY = ("allocate memory", "out of memory", "ALLOC_FAILED")
"""In the messages of a CPU (`can't allocate memory`), of CUDA (`CUDA error: out of memory`), and of its libraries
(`CUBLAS_STATUS_ALLOC_FAILED`)."""

PASS_TOKENS = {"cpu": (916, 2 * 916), "cuda": (64 * 916, 256 * 916)}
"""Most tokens of one pass at width 512, in training and in prediction; at other widths in inverse proportion.

A card needs many to be busy: 58 k tokens are 25 TFLOP, a tenth of a second on an H100 (arithmetic, as no card has run
it), beside some milliseconds of launches. A CPU is busy with few. There a larger pass only takes memory, and time in
which a run cannot be stopped.
"""


def pass_tokens(device: torch.device, width: int, training: bool = True) -> int:
    """Most tokens that a model runs at once on this device. A larger training step is cut into equal chunks."""
    of_training, of_prediction = PASS_TOKENS["cpu" if device.type == "cpu" else "cuda"]
    return (of_training if training else of_prediction) * 512 // width


def free_memory(device: torch.device) -> float:
    """Bytes that can still be allocated on a device, on a CPU within its container's limit. Infinite if unknown."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for reuse
        return float(torch.cuda.mem_get_info(device)[0] + cached)
    rooms = [math.inf]
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        rooms.append(1024 * float(fields["MemAvailable"].split()[0]))
        group = Path("/sys/fs/cgroup")
        rooms.append(float((group / "memory.max").read_text()) - float((group / "memory.current").read_text()))
    except (OSError, KeyError, ValueError):  # no Linux, or no limit ("max")
        pass
    return min(rooms)


def pick_device(name: str = "auto") -> torch.device:
    """The named device, or for auto the best one present. Raises InputError if CUDA is named but missing."""
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("device: expected a CUDA card and a torch that can use it, got none: take --device cpu")
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_precision(device: torch.device, precision: Precision = "auto") -> torch.dtype | None:
    """Type for autocast in the forward pass; None for plain float32.

    Auto: bfloat16 from CUDA capability 8 on, float16 on 7.x (a T4 has no bfloat16 units), float32 elsewhere.
    """
    if precision != "auto":
        return None if precision == "float32" else getattr(torch, precision)
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16


def in_precision(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """Context for forward passes with matrix products in `dtype`; None: float32.

    Without autocast's cache: up to torch 2.10 it hands weights that a cycle without gradient has cast to the cycle
    with gradient, and these weights would then never be trained.
    """
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None, cache_enabled=False)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may help.

    torch has an exception for it, but the CPU allocator, the CUDA driver and CUDA's libraries, which allocate too,
    raise plain RuntimeErrors.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
