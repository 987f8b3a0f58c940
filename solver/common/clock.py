"""The wall clock: durations as people write them, and what is left of one. Monotonic time only: clocks get set."""

import math
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

INTERRUPTED = 130  # exit code, as the shell has it for Ctrl-C

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds of a duration like 90s, 10m or 11h30m. Raises ValueError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if not match or not any(match.groups()):
        raise ValueError(f"expected a duration like 90s, 10m or 11h30m, got {text!r}")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def format_duration(seconds: float) -> str:
    """A duration as people write it, in its two largest units."""
    if seconds == math.inf:
        return "infinite"
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


@dataclass(frozen=True)
class Clock:
    """Time since the start, against a limit in seconds (none: infinity)."""

    limit: float = math.inf
    started: float = field(default_factory=lambda: time.monotonic())
    stopped: threading.Event = field(default_factory=threading.Event)  # shared by all clocks made of this one

    def left_text(self) -> str:
        """The time left, in words; nothing without a limit."""
        return "" if self.limit == math.inf else f"{format_duration(max(0.0, self.left()))} left"

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def left(self) -> float:
        """Seconds until the limit; negative once it is passed, and minus infinity after `stop`."""
        return -math.inf if self.stopped.is_set() else self.limit - self.elapsed()

    def expired(self) -> bool:
        """Whether the limit is passed."""
        return self.left() <= 0

    def stop(self) -> None:
        """Let this clock and all that were made of it be expired from now on: somebody wants the program to end."""
        self.stopped.set()

    def part(self, seconds: float) -> "Clock":
        """A clock for the next `seconds`, or for what is left if that is less."""
        return Clock(min(seconds, self.left()), stopped=self.stopped)

    def share(self, share: float) -> "Clock":
        """A clock that stops when `share` of what is left now is used."""
        return self.part(share * self.left())


@contextmanager
def stop_signals(stop: Callable[[int], None]) -> Iterator[None]:
    """Call `stop` with the number of the first signal; a second one raises KeyboardInterrupt. Main thread only."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        stop(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
