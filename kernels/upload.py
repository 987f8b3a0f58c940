"""Integer arrays from the host to a device, without waiting for it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def upload(device: torch.device, *columns: Any) -> tuple[Tensor, ...]:
    """Arrays of any shapes as int64 tensors on `device`: one copy for all, pinned where that matters."""
    arrays = [np.ascontiguousarray(column, dtype=np.int64) for column in columns]
    if device.type == "cpu":
        return tuple(torch.from_numpy(array) for array in arrays)
    packed = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    packed = packed.pin_memory() if device.type == "cuda" else packed
    parts = packed.to(device, non_blocking=True).split([array.size for array in arrays])
    return tuple(part.view(array.shape) for part, array in zip(parts, arrays, strict=True))
