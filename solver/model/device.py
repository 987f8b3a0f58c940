"""Choice of device and precision."""

import torch

from solver.common.checks import InputError
from solver.settings.config import Precision


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may help. The GPU has its own exception; torch's CPU allocator raises a RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
