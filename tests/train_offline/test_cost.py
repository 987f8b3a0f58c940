"""The cost of a run against what the authors of published runs state, and what is printed of it."""

from dataclasses import replace
from typing import Any

import pytest

from solver.learning.memory import TrainingMemory
from solver.settings.config import LearnerConfig, TRMConfig
from tests.train_offline.counted_models import SMALL
from train_offline.cost import DEVICES, SHARE_OF_PEAK, Work, estimate, lines, si
from train_offline.flops import train_flops
from train_offline.settings import presets
from train_offline.settings.config import TrainConfig


def config_of(model: TRMConfig, learner: LearnerConfig | None = None, **more: Any) -> TrainConfig:
    return TrainConfig(**{"name": "sample", "steps": 10, "model": model, "learner": learner or LearnerConfig(), **more})


def published(name: str, ranks: int = 4) -> tuple[Work, float]:
    """An ARC preset's work on the full canvas, and its days on H100s."""
    config = presets.PRESETS[name]()
    work = estimate(config, {(30, 30): 1.0}, {(30, 30): 768}, 1280 * 1000)
    return work, work.run_flops / (ranks * DEVICES[0].peak * SHARE_OF_PEAK) / 86_400


def test_the_published_run_takes_about_as_long_as_its_authors_say() -> None:
    work, days = published("arc2")
    assert work.step_flops == pytest.approx(768 * 0.398e12, rel=0.01)
    assert work.run_flops == pytest.approx(2.2e20, rel=0.02)
    assert 2 < days < 3.5  # "around 3 days" on 4 H100; 48 hours in arXiv 2511.02886


def test_a_step_is_the_mean_over_canvases() -> None:
    model = replace(SMALL, canvas=(4, 4))
    shares, slots = {(2, 2): 0.75, (4, 4): 0.25}, {(2, 2): 8, (4, 4): 2}
    work = estimate(config_of(model), shares, slots, 1)
    assert work.step_flops == 6 * train_flops(model, (2, 2)) + 0.5 * train_flops(model, (4, 4))
    assert work.run_flops == 10 * work.step_flops


@pytest.mark.parametrize(("rows", "shares"), [(1280 * 1000, (64, 64, 64, 32)), (15_000_000, (64, None, None, None))])
def test_lines_show_rates_shares_and_passes_that_fit(
    rows: int, shares: tuple[int | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a peak of 50 MB and 0.2 GB per sample, beside the table."""
    monkeypatch.setattr(TrainingMemory, "peak", lambda memory, n: int(memory.table_rows * 2048 + 5e7 + n * 2e8))
    work, days = published("arc2")
    model = TRMConfig()
    memory = TrainingMemory(model, LearnerConfig(), rows, (30, 30), 192, 192 * 916)
    text = lines(work, memory, measured_gflops=500_000, device_name="H100 80GB HBM3", ranks=4)
    assert "6.83 M in the trunk, 655 M in the puzzle embeddings" in text[0]
    assert text[1].startswith("work: 306 TFLOP per step, 222 EFLOP in total")
    assert text[2] == "about 61h37m here: 4 x H100 80GB HBM3, 500 TFLOP/s measured, 50% of it assumed"
    assert text[3].startswith(f"about {days:.1f} days")
    assert "4 x H100 SXM: 989 TFLOP/s bfloat16 peak, 19% of it assumed" in text[3]
    assert "121 TFLOP/s bfloat16" in text[7]
    assert "65 TFLOP/s float16" in text[9]
    for line, card, chunk in zip(text[4::2], DEVICES, shares, strict=True):
        room = si(card.memory, "B")
        if chunk is None:
            assert line == f"does not fit there: 31 GB of {room}; use more ranks or a smaller model"
        else:
            peak = si(memory.peak(chunk), "B")
            assert line == f"memory there: {peak} of {room}, in passes of {chunk} samples on 30x30"
