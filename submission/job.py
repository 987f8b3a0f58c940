"""What a supervisor asks of a worker. Imports no torch: the supervisor has to work where torch fails."""

from dataclasses import asdict, dataclass
from typing import Any

import orjson

REFUSED = 1  # exit code of a worker whose weights or tasks are no good
ORPHANED = 3  # exit code of a worker whose supervisor is gone


@dataclass(frozen=True)
class Job:
    """The tasks of one worker, where it computes and until when."""

    tasks: str  # a challenges file
    journal: str  # folder
    name: str  # of its fitted weights in there
    device: str
    deadline: float  # seconds of time.monotonic, which all processes of a machine share
    options: dict[str, Any]  # SolveOptions
    weights: str | None = None

    def to_line(self) -> bytes:
        """As the worker reads it from its standard input."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_line(cls, line: bytes) -> "Job":
        """The job in a line."""
        return cls(**orjson.loads(line))
