"""The published models' numbers, for every CASE.json + CASE.safetensors of a folder (`--golden-dir DIR`).

Tolerances are those of the recording: logits 1e-4 absolute, losses 1e-5 relative, final parameters 1e-4 absolute,
halting exactly; the embedding table moves by a sign, so under 0.1 % of its entries may differ.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from solver.learner import Batch, Learner, LearnerConfig
from solver.models.trm import TRM, Condition
from solver.objective import step_losses
from train_offline.published import our_config, our_state


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    folder: Path = metafunc.config.getoption("--golden-dir")
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise pytest.UsageError(f"--golden-dir {folder}: expected CASE.json files, got none")
    metafunc.parametrize("case", paths, ids=[path.stem for path in paths], indirect=True)


class Case:
    """One recorded model: its settings and its tensors."""

    def __init__(self, path: Path) -> None:
        self.meta: dict[str, Any] = json.loads(path.read_text())
        self.tensors = load_file(path.with_suffix(".safetensors"))

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with a prefix, under the rest of their name."""
        return {name[len(prefix) :]: t for name, t in self.tensors.items() if name.startswith(prefix)}

    def batch(self, prefix: str) -> Batch:
        """The batch recorded under a prefix. Padding tokens in labels are what the recording says: -100."""
        part = {name: tensor.long() for name, tensor in self.under(prefix).items()}
        ids = part["puzzle_identifiers"]
        return Batch(part["inputs"], part["labels"], ids, torch.zeros_like(ids), torch.arange(10).repeat(len(ids), 1))

    def model(self) -> tuple[TRM, nn.Parameter]:
        """The model and the puzzle embedding table before the first step."""
        model = TRM(our_config(self.meta["config"]))
        state, table = our_state(self.under("state/"))
        model.load_state_dict(state)
        rows = torch.zeros(self.meta["config"]["num_puzzle_identifiers"], 0) if table is None else table.clone()
        return model, nn.Parameter(rows)

    def learner(self) -> Learner:
        """The learner with the recording's optimizers."""
        trunk, rows, config = self.meta["optimizer"], self.meta["puzzle_embedding_optimizer"], self.meta["config"]
        model, table = self.model()
        settings = LearnerConfig(
            lr=trunk["lr"],
            betas=tuple(trunk["betas"]),
            weight_decay=trunk["weight_decay"],
            row_lr=rows["lr"],
            row_weight_decay=rows["weight_decay"],
            warmup_steps=trunk["warmup_steps"],
            ema_decay=self.meta["ema"]["decay"],
            loss="softmax" if self.meta["loss"].startswith("softmax") else "stablemax",
            supervision_steps=config["halt_max_steps"],
            exploration=config["halt_exploration_prob"],
            clip_norm=math.inf,  # clips nothing, but measures
        )
        return Learner(model, table, settings, torch.Generator().manual_seed(0))


@pytest.fixture
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Case:
    """The case, with the matrix product that recorded it: the token MLP multiplies rounding by six a step."""
    case = Case(request.param)
    if case.meta["model"] != "trm":
        pytest.skip(f"{request.param.stem}: a {case.meta['model']!r} case; this version has the TRM only")
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    return case


def assert_same(name: str, got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got.float(), expected.float(), atol=1e-4, rtol=0, msg=lambda text: f"{name}: {text}")


def test_evaluation(case: Case) -> None:
    model, table = case.model()
    batch = case.batch("eval/batch/")
    canvas = model.config.canvas
    with torch.no_grad():
        x = model.embed(batch.inputs, Condition(table[batch.ids], batch.symmetry, batch.permutation), canvas)
        state = model.fresh_state(len(batch.ids), canvas)
        steps = sorted({int(name.split("/")[0]) for name in case.under("eval/step")})
        assert steps == list(range(1, len(steps) + 1))
        for step in steps:
            state, logits, halting = model(x, state, canvas)
            expected = case.under(f"eval/step{step}/")
            assert_same(f"logits of step {step}", logits, expected["logits"])
            assert_same(f"halting logits of step {step}", halting[:, 0], expected["q_halt_logits"])
            losses = step_losses(logits, halting, batch.labels, "stablemax")
            assert losses.total().sum().item() == pytest.approx(expected["loss"].item(), rel=1e-5)


def test_training(case: Case) -> None:
    learner = case.learner()
    canvas = learner.model.config.canvas
    for row in case.meta["train_log"]:
        offered = case.batch(f"train/step{row['step']}/batch/")
        slots = len(offered.ids)
        metrics = learner.train_step(canvas, slots, offered.at)
        assert metrics.loss.item() / slots == pytest.approx(row["loss"], rel=1e-5)
        assert metrics.token_loss.item() / slots == pytest.approx(row["lm_loss"], rel=1e-5)
        assert metrics.halting_loss.item() / slots == pytest.approx(row["q_halt_loss"], rel=1e-5)
        assert learner.gradient_norm is not None
        assert learner.gradient_norm.item() == pytest.approx(row["grad_norm"], rel=1e-4)
        assert learner.slots[canvas].halted.tolist() == row["halted"]
        assert learner.slots[canvas].steps.tolist() == row["act_steps"]
    check_final(case, learner)


def check_final(case: Case, learner: Learner) -> None:
    """Parameters, their average and the table after the last step."""
    final, _ = our_state({n: t for n, t in case.under("train/final/").items() if n != "puzzle_emb"})
    averaged, _ = our_state(case.under("train/final_ema/"))
    for trunk, expected in ((learner.model, final), (learner.averaged()[0], averaged)):
        parameters = dict(trunk.named_parameters())
        assert expected.keys() == parameters.keys()
        for name, tensor in expected.items():
            assert_same(name, parameters[name].detach(), tensor)
    differing = (learner.table.detach() - case.tensors["train/final/puzzle_emb"]).abs() > 1e-4
    assert differing.float().mean().item() < 1e-3
