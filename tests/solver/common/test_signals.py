"""The first signal asks the run to end, a second one ends it, and afterwards all is as it was."""

import os
import signal

import pytest

from solver.common import clock as clocks
from solver.common.clock import Clock, OutOfTime, command_clock, count_from, interruptible, stop_signals

BOTH = (signal.SIGINT, signal.SIGTERM)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_calls_stop(number: int) -> None:
    seen: list[int] = []
    with stop_signals(seen.append):
        send(number)
        assert seen == [number]


@pytest.mark.parametrize("first", BOTH)
@pytest.mark.parametrize("second", BOTH)
def test_a_second_signal_interrupts(first: int, second: int) -> None:
    seen: list[int] = []
    before = [signal.getsignal(number) for number in BOTH]
    with pytest.raises(KeyboardInterrupt), stop_signals(seen.append):  # noqa: PT012
        send(first)
        send(second)
    assert seen == [first]
    assert [signal.getsignal(number) for number in BOTH] == before


def test_handlers_are_restored_however_it_ends() -> None:
    earlier: list[int] = []
    kept = signal.signal(signal.SIGTERM, lambda number, frame: earlier.append(number))
    try:
        before = [signal.getsignal(number) for number in BOTH]
        with stop_signals(lambda number: None):
            assert [signal.getsignal(number) for number in BOTH] != before
        assert [signal.getsignal(number) for number in BOTH] == before
        with pytest.raises(ValueError, match="mine"), stop_signals(lambda number: None):
            raise ValueError("mine")
        assert [signal.getsignal(number) for number in BOTH] == before
        send(signal.SIGTERM)
        assert earlier == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, kept)


def test_a_new_run_begins_without_the_signals_of_the_one_before() -> None:
    seen: list[int] = []
    for _ in range(2):
        with stop_signals(seen.append):
            send(signal.SIGINT)
    assert len(seen) == 2


@pytest.mark.parametrize("stopped", [True, False])
def test_what_does_not_look_at_the_clock_is_interrupted(stopped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "STOP_GRACE", 0.01)
    clock = Clock(3600.0 if stopped else 0.01)
    before = [signal.getsignal(number) for number in (*BOTH, signal.SIGALRM)]
    with pytest.raises(OutOfTime), interruptible(clock):  # noqa: PT012
        if stopped:
            send(signal.SIGTERM)
        while True:
            try:
                int("?")
            except Exception:
                continue
    assert clock.expired()
    assert [signal.getsignal(number) for number in (*BOTH, signal.SIGALRM)] == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_the_clock_of_a_command_counts_from_the_start_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 500.0)
    assert command_clock(60.0).left() == 60.0  # called by another program
    monkeypatch.setattr(clocks, "_command_began", None)
    count_from(490.0)
    assert command_clock(60.0).left() == 50.0


def test_a_second_signal_within_the_grace_counts_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    now = [5.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with pytest.raises(KeyboardInterrupt), stop_signals(seen.append, 2.0):  # noqa: PT012
        send(signal.SIGTERM)
        send(signal.SIGINT)
        now[0] += 2
        send(signal.SIGTERM)
    assert seen == [signal.SIGTERM]
