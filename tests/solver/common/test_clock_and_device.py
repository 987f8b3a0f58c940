"""Durations, the clock, and which device and precision are chosen."""

import math

import pytest
import torch

from solver.common.clock import Clock, format_duration, parse_duration
from solver.model.device import pick_device, pick_precision


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("11h30m", 41400), ("1h0m5s", 3605), ("0.5s", 0.5), (" 2m ", 120)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "10 m", "m", "1h-5m", "5m1h", "infs", "１m", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration like 90s, 10m or 11h30m, got"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.25, "4.2s"), (59.4, "59s"), (125, "2m05s"), (41400, "11h30m"), (math.inf, "infinite")]
)
def test_durations_are_written(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_clock_counts_down_and_can_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock = Clock(10)
    now[0] = 104
    part = clock.share(0.5)
    assert (clock.elapsed(), clock.left(), part.left()) == (4, 6, 3)
    now[0] = 107.5
    assert part.expired()
    assert not clock.expired()
    assert Clock().left() == math.inf
    assert not Clock().share(0.5).expired()


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_precision_follows_the_card(
    capability: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert pick_precision(torch.device("cuda")) == dtype
    assert pick_precision(torch.device("cuda"), "float32") is None
    assert pick_precision(torch.device("cpu")) is None
    assert pick_precision(torch.device("cpu"), "bfloat16") == torch.bfloat16


def test_the_device_is_probed_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for present, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda present=present: present)
        assert pick_device().type == kind
        assert pick_device("cpu").type == "cpu"
