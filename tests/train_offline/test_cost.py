"""The arithmetic of a run's cost against what torch counts, keeps and allocates, and against the written figures."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kernels.canvas import Canvas
from solver.learning.learner import Learner
from solver.model.trm import TRM, Condition, trainable_parameters
from solver.settings.config import CanvasConfig, LearnerConfig, TRMConfig
from solver.tokens.encode import Batch
from train_offline.cost import (
    DEVICES,
    SHARE_OF_PEAK,
    Work,
    estimate,
    forward_flops,
    lines,
    train_flops,
    trunk_parameters,
)
from train_offline.settings import presets
from train_offline.settings.config import TrainConfig

CANVAS = (3, 4)
SMALL = TRMConfig(width=32, heads=2, cycles=2, latent_updates=2, canvas=CANVAS, row_tokens=2, row_width=32)
MODELS = {
    "attention": SMALL,
    "rope2d, shared": replace(SMALL, positions="rope2d", embedding="shared", row_tokens=1),
    "learned": replace(SMALL, positions="learned", vocabulary=6, expansion=2.0),
    "mlp": replace(SMALL, mixer="mlp", positions="none"),
    "two networks": replace(SMALL, networks=2, layers=3),
    "one step": replace(SMALL, gradient="one_step"),
    "hrm": replace(SMALL, networks=2, gradient="one_step", halting="q_learning"),
    "hrm of two depths": replace(SMALL, networks=2, layers=3, answer_layers=1, gradient="one_step"),
    "two depths": replace(SMALL, networks=2, answer_layers=3),
    "q-learning, full": replace(SMALL, halting="q_learning", cycles=1),
    "one latent": replace(SMALL, latents=1, latent_updates=3),
    "one latent, one step": replace(SMALL, latents=1, gradient="one_step"),
    "no recursion": replace(SMALL, latents=1, latent_updates=0, cycles=1),
    "convolution": replace(SMALL, convolution=2),
    "mlp, convolution": replace(SMALL, mixer="mlp", positions="none", convolution=3),
    "mamba2_hybrid": replace(SMALL, mixer="mamba2_hybrid", layers=1),
    "mamba2_hybrid, 2 chunks": replace(SMALL, mixer="mamba2_hybrid", positions="learned", row_tokens=60, layers=1),
    "mamba2_hybrid, 3 chunks, convolution": replace(SMALL, mixer="mamba2_hybrid", row_tokens=120, convolution=2),
    "mlp, one step": replace(SMALL, mixer="mlp", positions="none", gradient="one_step", layers=1),
}


def draw(free: Tensor, mine: slice) -> Batch:
    count = len(free[mine])
    tokens = torch.arange(CANVAS[0] * CANVAS[1]).repeat(count, 1) % 6
    nothing = torch.zeros(count, dtype=torch.int64)
    return Batch(tokens, tokens, nothing, nothing, torch.arange(10).repeat(count, 1))


def learner_of(model: TRMConfig, config: LearnerConfig | None = None, **more: Any) -> Learner:
    table = nn.Parameter(torch.zeros(3, model.row_width))
    return Learner(TRM(model), table, config or LearnerConfig(), torch.Generator().manual_seed(0), **more)


def config_of(model: TRMConfig, learner: LearnerConfig | None = None, **more: Any) -> TrainConfig:
    return TrainConfig(**{"name": "sample", "steps": 10, "model": model, "learner": learner or LearnerConfig(), **more})


@pytest.fixture
def countable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch counts its own products, not those of the fast path, nor those within a fused attention on the CPU."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)


def counted(model: TRMConfig, train: bool, samples: int = 2) -> float:
    """What torch counts in one supervision step of one sample."""
    learner = learner_of(model)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        if train:
            learner.train_step(CANVAS, samples, draw)
        else:
            batch = draw(torch.arange(samples), slice(None))
            condition = Condition(learner.table[batch.ids], batch.symmetry, batch.permutation)
            with torch.no_grad():
                x = learner.model.embed(batch.inputs, condition, CANVAS)
                learner.model(x, learner.model.fresh_state(samples, CANVAS), CANVAS)
    return counter.get_total_flops() / samples


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_flops_are_those_that_torch_counts(name: str, countable: None) -> None:
    model = MODELS[name]
    assert forward_flops(model, CANVAS) == counted(model, train=False)
    assert train_flops(model, CANVAS) == counted(model, train=True)


@pytest.mark.parametrize("name", [*MODELS, *presets.PRESETS])
def test_parameters_are_those_of_the_module(name: str) -> None:
    model = MODELS[name] if name in MODELS else presets.PRESETS[name]().model
    with torch.device("meta"):
        assert trunk_parameters(model) == trainable_parameters(TRM(model))


def test_the_written_figures_of_the_published_model() -> None:
    """shared/spec/trm.md, "What it costs", counted on the 916 tokens of the full canvas."""
    model = presets.arc1().model
    a_pass = replace(model, latents=1, latent_updates=0, cycles=1)
    assert forward_flops(a_pass, (30, 30)) == pytest.approx(16e9, rel=0.01)
    assert forward_flops(model, (30, 30)) == pytest.approx(0.24e12, rel=0.01)
    assert train_flops(model, (30, 30)) == pytest.approx(0.4e12, rel=0.01)
    assert 16 * forward_flops(model, (30, 30)) == pytest.approx(3.8e12, rel=0.01)


def test_a_smaller_canvas_costs_less_than_its_share_of_the_tokens() -> None:
    model = presets.arc1_tight().model
    assert train_flops(model, (15, 30)) < (466 / 916) * train_flops(model, (30, 30))


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


@pytest.mark.slow
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_activations_are_what_autograd_keeps(name: str, autocast: torch.dtype | None, countable: None) -> None:
    model, samples = replace(MODELS[name], width=128, canvas=(12, 12), halting="binary"), 2
    trm, kept = TRM(model), {}

    def keep(saved: Tensor) -> Tensor:
        kept[saved.untyped_storage().data_ptr()] = saved.untyped_storage()  # a view keeps all of its storage
        return saved

    weights = [parameter.untyped_storage().data_ptr() for parameter in trm.parameters()]
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved)
    with hooks, torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        x = torch.randn(samples, model.puzzle_tokens + 144, model.width, requires_grad=True)
        output = trm(x, trm.fresh_state(samples, (12, 12)), (12, 12))
    measured = sum(storage.nbytes() for place, storage in kept.items() if place not in weights)
    if autocast is not None:  # the copies of the weights in that precision
        measured -= 2 * sum(p.numel() for p in trm.parameters() if p.dim() == 2)
    work = estimate(config_of(model), {(12, 12): 1.0}, {(12, 12): samples}, 1, autocast)
    assert output.logits.requires_grad
    assert work.activation_bytes() == pytest.approx(measured, rel=0.03)


@pytest.mark.parametrize("row_optimizer", ["sign_sgd", "adam_atan2"])
def test_bytes_are_those_that_a_learner_holds(row_optimizer: Any) -> None:
    config = LearnerConfig(row_optimizer=row_optimizer)
    learner = learner_of(SMALL, config, autocast=torch.bfloat16)
    learner.train_step(CANVAS, 4, draw)
    work = estimate(config_of(SMALL, config), {CANVAS: 1.0}, {CANVAS: 4}, table_rows=3)
    states = [part for slots in learner.slots.values() for part in slots.state]
    assert {part.dtype for part in states} == {torch.float32}  # also under autocast
    assert work.state_bytes == sum(part.nbytes for part in states)
    moved = [p for group in learner.optimizer.param_groups for p in group["params"]]
    moments = sum(moment.nbytes for p in moved for moment in learner.optimizer.state[p].values())
    averages = sum(parameter.nbytes for parameter in learner.average.parameters())
    held = sum(p.nbytes for p in moved) * 2 + moments + averages  # with a gradient for each weight
    held += learner.table.nbytes if row_optimizer == "sign_sgd" else 0
    assert work.weight_bytes + work.optimizer_bytes + work.average_bytes + work.table_bytes == held


def test_memory_grows_with_what_is_asked() -> None:
    base = presets.arc1_tight()
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
    assert usual.activation_bytes(2) < usual.activation_bytes(4) == usual.activation_bytes()


def test_default_buckets_do_not_fit_a_card_at_the_published_step() -> None:
    config = replace(presets.arc1_tight(), step_tokens=768 * 916)

    def states(sides: tuple[int, ...]) -> float:
        shares = {(height, width): 1 / len(sides) ** 2 for height in sides for width in sides}
        return estimate(config, shares, {c: config.step_tokens // (c[0] * c[1] + 16) for c in shares}, 1).state_bytes

    assert states(CanvasConfig().sides) == pytest.approx(349e9, rel=0.01)
    assert states(presets.TIGHT.sides) * 264 / 916 == pytest.approx(30e9, rel=0.01)


def test_a_step_is_the_mean_over_canvases_and_holds_all_its_accumulated_parts() -> None:
    model = replace(SMALL, canvas=(4, 4))
    shares, slots = {(2, 2): 0.75, (4, 4): 0.25}, {(2, 2): 8, (4, 4): 2}
    work = estimate(config_of(model), shares, slots, 1)
    assert work.step_flops == 6 * train_flops(model, (2, 2)) + 0.5 * train_flops(model, (4, 4))
    assert work.run_flops == 10 * work.step_flops
    thrice = estimate(config_of(model, LearnerConfig(accumulation=3)), shares, slots, 1)
    assert thrice.step_flops == 3 * work.step_flops
    assert thrice.activation_bytes() == work.activation_bytes()


def test_lines_show_rates_shares_and_what_does_not_fit() -> None:
    work, days = published("arc2")
    text = lines(work, measured_gflops=500_000, device_name="H100 80GB HBM3", ranks=4)
    assert "6.83 M in the trunk, 655 M in the puzzle embeddings" in text[0]
    assert "for each of 4 ranks, at least 46.9 GB" in text[1]
    assert text[2].startswith("work: 306 TFLOP a step, 222 EFLOP in all")
    assert text[3] == "about 61h37m here: 4 x H100 80GB HBM3, 500 TFLOP/s measured, 50% of it assumed"
    h100, l4, t4 = text[4:]
    assert h100.startswith(f"about {int(days * 24)}h")
    assert "4 x H100 SXM: 989 TFLOP/s bfloat16 at its peak, 25% of it assumed" in h100
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
