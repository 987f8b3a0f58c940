"""The numbers of the published single-z model and plain transformer, recorded by running their modules.

Each case of `ablations/` has the parameters, one batch, three supervision steps in evaluation, and in training the
losses, what halted, and the gradients of the first step.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from solver.learning.learner import Learner
from solver.model.trm import TRM
from solver.settings.config import LearnerConfig, TRMConfig
from tests.golden.test_golden import Case, as_recorded, evaluate
from tests.solver.learning.steps import some
from train_offline.published.names import our_config, our_state
from train_offline.settings.config import TrainConfig
from train_offline.settings.paper_presets import ABLATIONS

FOLDER = Path(__file__).parent / "ablations"


class Ablation(Case):
    """A recorded model, which the names of the published checkpoints do not cover."""

    ablation: str

    def config(self) -> TRMConfig:
        """What our ablation makes of the published TRM with these settings."""
        config = {"L_layers": 2, "L_cycles": 1, **self.meta["config"]}
        heads, layers = config["num_heads"], config["H_layers"] or config["L_layers"]
        ours = ABLATIONS[self.ablation](TrainConfig("case", 1, model=our_config({**config, "num_heads": 1}))).model
        return replace(ours, layers=layers, heads=heads, head_size=config["hidden_size"] // heads)

    def renamed(self, prefix: str) -> dict[str, torch.Tensor]:
        """Tensors under our names; the only network and the only state are those of the answer."""
        found = {name.replace("H_level", "L_level"): tensor for name, tensor in self.under(prefix).items()}
        ours, table = our_state({name.replace("L_init", "H_init"): tensor for name, tensor in found.items()})
        return ours | ({} if table is None else {"table": table})

    def model(self) -> tuple[TRM, nn.Parameter]:
        model, state = TRM(self.config()), self.renamed("state/")
        table = state.pop("table")
        assert {name for name, _ in model.named_parameters()} | {"y0"} == state.keys()
        model.load_state_dict(state, strict=False)  # without z0, which nothing reads
        return model, nn.Parameter(table)

    def learner(self, dtype: torch.dtype = torch.float32) -> Learner:
        settings = LearnerConfig(lr=0.0, row_lr=0.0, weight_decay=0.0, supervision_steps=3, exploration=0.0)
        return Learner(*self.model(), settings, torch.Generator().manual_seed(0))


@pytest.fixture(params=["single_z", "plain"])
def case(request: pytest.FixtureRequest) -> Iterator[Ablation]:
    with as_recorded():
        recorded = Ablation(FOLDER / f"{request.param}.json")
        recorded.ablation = {"single_z": "one_latent", "plain": "no_recursion"}[request.param]
        yield recorded


def test_the_published_ablations_predict_the_same(case: Ablation) -> None:
    for step, (logits, halting, loss) in enumerate(evaluate(case)):
        expected = case.under(f"eval/step{step + 1}/")
        torch.testing.assert_close(logits, expected["logits"], rtol=0, atol=1e-4)
        torch.testing.assert_close(halting, expected["q_halt_logits"], rtol=0, atol=1e-4)
        torch.testing.assert_close(loss, expected["loss"].to(loss.dtype), rtol=1e-5, atol=0)


def test_the_published_ablations_learn_and_halt_the_same(case: Ablation, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, batch = case.learner(), case.batch("eval/batch/")
    canvas, gradients = learner.model.config.canvas, list[dict[str, Any]]()

    def note(*_: object) -> None:  # instead of a move
        gradients.append({n: p.grad.clone() for n, p in learner.model.named_parameters() if p.grad is not None})
        learner.optimizer.zero_grad()

    monkeypatch.setattr(learner, "_move", note)
    for row in case.meta["train_log"]:
        if learner.free(canvas, 4)[0]:
            learner.refill(canvas, some(batch, learner.slots[canvas].halted))
        metrics, slots = learner.step(canvas), learner.slots[canvas]
        assert metrics.loss.item() / 4 == pytest.approx(row["loss"], rel=1e-5)
        assert (slots.halted.tolist(), slots.steps.tolist()) == (row["halted"], row["act_steps"])
    expected = case.renamed("train/step1/gradient/")
    assert expected.keys() == gradients[0].keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[0][name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_updates_of_the_ablations_come_in_the_published_order(case: Ablation, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = case.model()
    config, x = model.config, torch.ones(1, 18, 32)
    seen: list[tuple[bool, bool]] = []  # of each update: with the question, with gradient

    def update(y: torch.Tensor, injection: torch.Tensor, rotary: object) -> torch.Tensor:
        seen.append((bool(injection.any()), torch.is_grad_enabled()))
        return y

    monkeypatch.setattr(model, "update_answer", update)
    model(x[:, : config.puzzle_tokens + 16], model.fresh_state(1, (4, 4)), (4, 4))
    cycle = [True] if config.latent_updates == 0 else [True, True, True, False]
    assert seen == [(asked, last) for last in ([False] * (config.cycles - 1) + [True]) for asked in cycle]
