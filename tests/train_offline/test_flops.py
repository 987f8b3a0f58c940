"""FLOPs and kept memory against what torch counts on a whole supervision step, and against recorded figures."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kernels.canvas import Canvas
from solver.model.trm import TRM, Condition, trainable_parameters
from solver.settings.config import TRMConfig
from tests.solver.learning.steps import train_step
from tests.train_offline.counted_models import CANVAS, MODELS, SMALL, draw, learner_of
from train_offline.flops import forward_flops, kept_bytes, train_flops, trunk_parameters
from train_offline.settings import presets

pytestmark = pytest.mark.slow


@pytest.fixture
def countable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch counts its own products, not those of the fast path, nor those within a fused attention on the CPU."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)


def counted(model: TRMConfig, train: bool, samples: int = 2) -> float:
    """What torch counts in one supervision step of one sample, less the sums of gradients of equal rows."""
    learner, sums = learner_of(model), 0
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        if train:
            train_step(learner, CANVAS, samples, draw)
            sums = 2 * samples**2 * model.row_width  # no work of the model, and little in real batches
        else:
            batch = draw(samples)
            condition = Condition(learner.table[batch.ids], batch.symmetry)
            with torch.no_grad():
                x = learner.model.embed(batch.inputs, condition, CANVAS)
                learner.model(x, learner.model.fresh_state(samples, CANVAS), CANVAS)
    return (counter.get_total_flops() - sums) / samples


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


RECORDED = {  # derived by hand from the shapes: forward and training FLOPs, kept bytes in float32 and in 16 bits
    ("arc1", (30, 30)): (238859307008, 398113593344, 414556160, 226037760),
    ("arc1", (15, 30)): (108631697408, 181060204544, 210882560, 114984960),
    ("sudoku_mlp", (9, 9)): (25632306176, 42721729536, 103385088, 54473728),
    ("sudoku_attention", (9, 9)): (28577580032, 47630519296, 61351936, 33457152),
    ("maze", (30, 30)): (238853777408, 398097004544, 414556160, 226037760),
    ("hrm_arc1", (30, 30)): (187296352256, 499471687680, 326606848, 178065408),
    ("mini", (15, 30)): (355507200, 1066521600, 8438400, 4694400),
}


@pytest.mark.parametrize(("name", "canvas"), RECORDED)
def test_figures_are_those_derived_by_hand(name: str, canvas: Canvas) -> None:
    model = presets.PRESETS[name]().model
    forward, train, wide, half = RECORDED[name, canvas]
    assert (forward_flops(model, canvas), train_flops(model, canvas)) == (forward, train)
    # the hand derivation leaves out what is small beside (tokens, width), such as the scale of each norm
    assert kept_bytes(model, canvas, torch.float32) == pytest.approx(wide, rel=0.004)
    assert kept_bytes(model, canvas, torch.bfloat16) == pytest.approx(half, rel=0.004)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_figures_do_not_depend_on_where_they_are_first_asked_for(mode: Any) -> None:
    fresh = replace(SMALL, rope_theta=50.0 if mode is torch.no_grad else 60.0)  # so that nothing is cached
    with mode():
        flops = train_flops(fresh, CANVAS), kept_bytes(fresh, CANVAS, torch.float32)
    assert flops == (train_flops(SMALL, CANVAS), kept_bytes(SMALL, CANVAS, torch.float32))


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_activations_are_what_autograd_keeps(name: str, autocast: torch.dtype | None, countable: None) -> None:
    model, samples = replace(MODELS[name], width=128, row_width=128, canvas=(12, 12), halting="binary"), 2
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
    assert output.logits.requires_grad
    assert samples * kept_bytes(model, (12, 12), autocast or torch.float32) == pytest.approx(measured, rel=0.03)
