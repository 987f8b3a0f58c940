"""The first signal asks the run to end, a second one ends it, and afterwards all is as it was."""

import os
import signal

import pytest

from solver.common.clock import stop_signals

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
