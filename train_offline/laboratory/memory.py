"""The most memory that a piece of work takes: of the process on a CPU, of torch on a card."""

import resource
import sys
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Begins when it is made. Bytes; on a CPU the whole process counts, on a card what torch has allocated there."""

    def __init__(self, device: torch.device) -> None:
        self._device, self.how = device, "torch.cuda.max_memory_allocated"
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.at_first = torch.cuda.memory_allocated(device)
            return
        try:
            _CLEAR.write_text("5")  # Linux: the high-water mark begins anew
            self.at_first, self.how = _status("VmRSS"), "resident memory of the process, high-water mark of this part"
        except (OSError, ValueError):
            self.at_first, self.how = _most_ever(), "resident memory of the process, the most since it began"

    def peak(self) -> int:
        """The most bytes since the beginning."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return _status("VmHWM") if self.how.endswith("part") else _most_ever()


def _status(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(name)


def _most_ever() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, Linux KiB
