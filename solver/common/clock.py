"""The time budget of a run: durations as text, a clock that counts down, and signals that stop it.

Time is monotonic, since the system clock can be set during a run.
"""

import math
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

GRACE, STOP_GRACE = 0.3, 5.0  # seconds that work may go on after the clock has expired, or after a signal
REPEAT = 1.0  # seconds between looks after the first: an interrupt may get lost in code that ignores exceptions
LONGEST = 1e6  # seconds that a timer is set to; when it ends, `look` looks again
INTERRUPTED = 130  # exit code after Ctrl-C, as in a shell

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds in a duration such as 90s, 10m or 11h30m. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if not match or not any(match.groups()):
        raise ValueError(f"expected a duration like 90s, 10m or 11h30m, got {text!r}")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def format_duration(seconds: float) -> str:
    """A duration in its two largest units, such as 2m05s or 11h30m."""
    if seconds == math.inf:
        return "infinite"
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


_command_began: float | None = None


def count_from(began: float) -> None:
    """Let `command_clock` count from a value of time.monotonic(): when this process started, imports included."""
    global _command_began
    _command_began = began


def command_clock(limit: float) -> "Clock":
    """The clock of a command line; called by another program, it counts from now."""
    return Clock(limit) if _command_began is None else Clock(limit, _command_began)


@dataclass(frozen=True)
class Clock:
    """A countdown from `limit` seconds. Clocks made by `part` and `share` stop together with their parent."""

    limit: float = math.inf
    started: float = field(default_factory=lambda: time.monotonic())
    stopped: threading.Event = field(default_factory=threading.Event)  # shared with parent and parts

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def left(self) -> float:
        """Seconds until the limit: negative after it, minus infinity after `stop`."""
        return -math.inf if self.stopped.is_set() else self.limit - self.elapsed()

    def expired(self) -> bool:
        """Whether no time is left."""
        return self.left() <= 0

    def left_text(self) -> str:
        """The time left for a progress line; empty without a limit."""
        return "" if self.limit == math.inf else f"{format_duration(max(0.0, self.left()))} left"

    def stop(self) -> None:
        """Expire this clock, its parent and all parts: the user wants the run to end."""
        self.stopped.set()

    def part(self, seconds: float) -> "Clock":
        """A clock for the next `seconds`, but at most for the time left."""
        return Clock(min(seconds, self.left()), stopped=self.stopped)

    def share(self, share: float) -> "Clock":
        """A clock for a share of the time left."""
        return self.part(share * self.left())


class OutOfTime(BaseException):
    """Raised by `interruptible`. No Exception, which code in between might take for one of its own."""


@contextmanager
def interruptible(clock: Clock) -> Iterator[None]:
    """Stop the clock at SIGINT or SIGTERM, and raise OutOfTime in what does not look at the clock. Main thread only.

    That is GRACE seconds after the clock has expired, or STOP_GRACE after a signal.
    """

    def look(number: int, frame: object) -> None:
        if clock.expired():
            raise OutOfTime

    def stop(number: int) -> None:
        clock.stop()
        signal.setitimer(signal.ITIMER_REAL, STOP_GRACE, REPEAT)

    before, left = signal.signal(signal.SIGALRM, look), clock.left()
    try:
        if left < math.inf:
            signal.setitimer(signal.ITIMER_REAL, min(max(left, 0.0) + GRACE, LONGEST), REPEAT)
        with stop_signals(stop):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def overdue(clock: Clock) -> Iterator[None]:
    """Raise OutOfTime in what still runs STOP_GRACE seconds after the clock has expired. Main thread only."""
    expired: list[float] = []  # when that was first seen

    def look(number: int, frame: object) -> None:
        if clock.expired():
            expired.append(time.monotonic())
            if expired[-1] - expired[0] >= STOP_GRACE:
                raise OutOfTime

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, REPEAT, REPEAT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def stop_signals(stop: Callable[[int], None], grace: float = 0.0) -> Iterator[None]:
    """Call `stop` at the first SIGINT or SIGTERM, raise KeyboardInterrupt at the second. Main thread only.

    What comes within `grace` seconds of the first counts as the same: schedulers signal a process and its group.
    """
    first: list[float] = []

    def note(number: int, frame: object) -> None:
        if not first:
            first.append(time.monotonic())
            stop(number)
        elif time.monotonic() - first[0] >= grace:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
