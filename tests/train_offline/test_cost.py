"""The cost of a run against what a learner allocates, and against what the authors of published runs state."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from kernels.canvas import Canvas
from solver.settings.config import LearnerConfig, TRMConfig
from tests.solver.learning.steps import train_step
from tests.train_offline.counted_models import CANVAS, SMALL, draw, learner_of
from train_offline.cost import DEVICES, SHARE_OF_PEAK, Work, estimate, lines
from train_offline.flops import train_flops
from train_offline.settings import presets
from train_offline.settings.config import TrainConfig


def config_of(model: TRMConfig, learner: LearnerConfig | None = None, **more: Any) -> TrainConfig:
    return TrainConfig(**{"name": "sample", "steps": 10, "model": model, "learner": learner or LearnerConfig(), **more})


def published(name: str, ranks: int = 4) -> tuple[Work, float]:
    """An ARC preset's work on the full canvas, and its days on H100s."""
    config = presets.PRESETS[name]()
    work = estimate(config, {(30, 30): 1.0}, {(30, 30): 768}, 1280 * 1000, torch.bfloat16)
    return work, work.run_flops / (ranks * DEVICES[0].peak * SHARE_OF_PEAK) / 86_400


def test_the_published_run_takes_about_as_long_as_its_authors_say() -> None:
    work, days = published("arc2")
    assert work.step_flops == pytest.approx(768 * 0.398e12, rel=0.01)
    assert work.run_flops == pytest.approx(2.2e20, rel=0.02)
    assert 2 < days < 3.5  # "around 3 days" on 4 H100; 48 hours in arXiv 2511.02886
    assert work.rank_bytes(4) < DEVICES[0].memory < work.rank_bytes(1)


@pytest.mark.parametrize("row_optimizer", ["sign_sgd", "adam_atan2"])
def test_bytes_are_those_that_a_learner_holds(row_optimizer: Any) -> None:
    config = LearnerConfig(row_optimizer=row_optimizer)
    learner = learner_of(SMALL, config, autocast=torch.bfloat16)
    train_step(learner, CANVAS, 4, draw)
    work = estimate(config_of(SMALL, config), {CANVAS: 1.0}, {CANVAS: 4}, table_rows=3)
    states = [part for slots in learner.slots.values() for part in slots.state]
    assert {part.dtype for part in states} == {torch.float32}  # also under autocast
    assert work.state_bytes == sum(part.nbytes for part in states)
    moved = [p for group in learner.optimizer.param_groups for p in group["params"]]
    moments = sum(moment.nbytes for p in moved for moment in learner.optimizer.state[p].values())
    averages = sum(parameter.nbytes for parameter in learner._average.parameters())
    held = sum(p.nbytes for p in moved) * 2 + moments + averages  # with a gradient for each weight
    held += learner.table.nbytes if row_optimizer == "sign_sgd" else 0
    assert work.weight_bytes + work.table_bytes == held


def test_memory_grows_with_what_is_asked() -> None:
    base = replace(presets.arc1_hour(), model=TRMConfig(), learner=LearnerConfig())
    buckets = {(height, width): 1 / 9 for height in (7, 16, 30) for width in (7, 16, 30)}

    def work(config: TrainConfig, shares: dict[Canvas, float], rows: int = 1000) -> Work:
        extra = config.model.puzzle_tokens
        return estimate(config, shares, {c: config.step_tokens // (c[0] * c[1] + extra) for c in shares}, rows)

    usual = work(base, buckets)
    larger = {
        "a larger step": work(replace(base, step_tokens=2 * base.step_tokens), buckets),
        "more buckets": work(base, {**buckets, (11, 11): 0.0}),
        "a longer table": work(base, buckets, rows=2000),
        "rows moved by Adam": work(replace(base, learner=LearnerConfig(row_optimizer="adam_atan2")), buckets),
        "more graded updates": work(replace(base, model=replace(base.model, latent_updates=6)), buckets),
    }
    for name, more in larger.items():
        assert more.rank_bytes(2) > usual.rank_bytes(2), name
    assert usual.rank_bytes(4) < usual.rank_bytes(2) < usual.rank_bytes(1)
    assert usual.half_activation_bytes < usual.activation_bytes


def test_a_step_is_the_mean_over_canvases() -> None:
    model = replace(SMALL, canvas=(4, 4))
    shares, slots = {(2, 2): 0.75, (4, 4): 0.25}, {(2, 2): 8, (4, 4): 2}
    work = estimate(config_of(model), shares, slots, 1)
    assert work.step_flops == 6 * train_flops(model, (2, 2)) + 0.5 * train_flops(model, (4, 4))
    assert work.run_flops == 10 * work.step_flops


def test_lines_show_rates_shares_and_what_does_not_fit() -> None:
    work, days = published("arc2")
    text = lines(work, measured_gflops=500_000, device_name="H100 80GB HBM3", ranks=4)
    assert "6.83 M in the trunk, 655 M in the puzzle embeddings" in text[0]
    assert "for each of 4 ranks, at least 46.9 GB" in text[1]
    assert text[2].startswith("work: 306 TFLOP per step, 222 EFLOP in total")
    assert text[3] == "about 61h37m here: 4 x H100 80GB HBM3, 500 TFLOP/s measured, 50% of it assumed"
    h100, l4, t4 = text[4:]
    assert h100.startswith(f"about {days:.1f} days")
    assert "4 x H100 SXM: 989 TFLOP/s bfloat16 peak, 19% of it assumed" in h100
    assert "121 TFLOP/s bfloat16" in l4
    assert "65 TFLOP/s float16" in t4
    assert "does not fit" not in h100
    assert "does not fit: 46.9 GB of 24 GB" in l4
    assert "does not fit: 46.9 GB of 16 GB" in t4


def test_lines_of_a_small_run_on_one_rank() -> None:
    config = presets.tiny()
    work = estimate(config, {(6, 6): 1.0}, {(6, 6): 1000 // 39}, table_rows=31)
    text = lines(work, measured_gflops=176.0, device_name="cpu")
    assert text[1].startswith("memory, at least ")
    assert "here: cpu, 176 GFLOP/s measured" in text[3]
    assert not any("does not fit" in line for line in text)
