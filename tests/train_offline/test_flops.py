"""FLOPs against what torch counts on a whole supervision step, and against recorded figures."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kernels.canvas import Canvas
from solver.model.trm import TRM, Condition, trainable_parameters
from solver.settings.config import TRMConfig
from tests.solver.learning.steps import train_step
from tests.train_offline.counted_models import CANVAS, MODELS, SMALL, draw, learner_of
from train_offline.flops import forward_flops, train_flops, trunk_parameters
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


RECORDED = {  # derived by hand from the shapes: forward and training FLOPs
    ("arc1", (30, 30)): (238859307008, 398113593344),
    ("arc1", (15, 30)): (108631697408, 181060204544),
    ("sudoku_mlp", (9, 9)): (25632306176, 42721729536),
    ("sudoku_attention", (9, 9)): (28577580032, 47630519296),
    ("maze", (30, 30)): (238853777408, 398097004544),
    ("hrm_arc1", (30, 30)): (187296352256, 499471687680),
    ("mini", (15, 30)): (355507200, 1066521600),
}


@pytest.mark.parametrize(("name", "canvas"), RECORDED)
def test_figures_are_those_derived_by_hand(name: str, canvas: Canvas) -> None:
    model = presets.PRESETS[name]().model
    assert (forward_flops(model, canvas), train_flops(model, canvas)) == RECORDED[name, canvas]


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_figures_do_not_depend_on_where_they_are_first_asked_for(mode: Any) -> None:
    fresh = replace(SMALL, rope_theta=50.0 if mode is torch.no_grad else 60.0)  # so that nothing is cached
    with mode():
        flops = train_flops(fresh, CANVAS)
    assert flops == train_flops(SMALL, CANVAS)
