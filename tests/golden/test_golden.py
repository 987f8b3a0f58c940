"""The published models' numbers, for every CASE.json + CASE.safetensors of a folder (`--golden-dir DIR`).

Tolerances are those of the recording: logits 1e-4 absolute, losses 1e-5 relative, final parameters 1e-4 absolute,
halting exactly; the embedding table moves by a sign, so under 0.1 % of its entries may differ.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from solver.learning.learner import Learner
from solver.learning.loss import step_losses
from solver.model.trm import TRM, Condition
from solver.settings.config import LearnerConfig
from solver.tokens.encode import Batch
from tests.solver.learning.steps import some
from train_offline.published.names import our_config, our_state

LOGGED = (("loss", 1e-5), ("lm_loss", 1e-5), ("q_halt_loss", 1e-5), ("q_continue_loss", 1e-5), ("grad_norm", 1e-4))
ROUNDING_MARGIN = 16  # two float32 runs differ by more than one of them does from float64


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
        return Batch(part["inputs"], part["labels"], ids, torch.zeros_like(ids))

    def model(self) -> tuple[TRM, nn.Parameter]:
        """The model and the puzzle embedding table before the first step."""
        model = TRM(our_config(self.meta["config"], self.meta["model"]))
        state, table = our_state(self.under("state/"))
        model.load_state_dict(state)
        rows = torch.zeros(self.meta["config"]["num_puzzle_identifiers"], 0) if table is None else table.clone()
        return model, nn.Parameter(rows)

    def learner(self, dtype: torch.dtype = torch.float32) -> Learner:
        """The learner with the recording's optimizers."""
        trunk, rows, config = self.meta["optimizer"], self.meta["puzzle_embedding_optimizer"], self.meta["config"]
        model, table = self.model()
        model, table = model.to(dtype), nn.Parameter(table.detach().to(dtype))
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


@contextmanager
def as_recorded() -> Iterator[None]:
    """With torch's own matrix product on two threads, which decide the rounding of the recording."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.mkldnn, "enabled", False)
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with as_recorded():
        yield Case(request.param)


def evaluate(case: Case, dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Logits, halting logits and summed loss of every recorded supervision step."""
    model, parameter = case.model()
    model, table = model.to(dtype), parameter.to(dtype)
    batch, canvas = case.batch("eval/batch/"), model.config.canvas
    steps = sorted({int(name.split("/")[0]) for name in case.under("eval/step")})
    assert steps == list(range(1, len(steps) + 1))
    results = []
    with torch.no_grad():
        x = model.embed(batch.inputs, Condition(table[batch.ids], batch.symmetry), canvas)
        state = model.fresh_state(len(batch.ids), canvas)
        for _ in steps:
            state, logits, halting = model(x, state, canvas)
            loss = step_losses(logits, halting, batch.labels, case.learner().config.loss).total().sum()
            results.append((logits, halting[:, 0], loss))
    return results


def train(case: Case, dtype: torch.dtype = torch.float32) -> tuple[Learner, list[dict[str, Any]]]:
    """The learner after the recorded steps, and what it logged."""
    learner = case.learner(dtype)
    canvas = learner.model.config.canvas
    log = []
    for row in case.meta["train_log"]:
        offered = case.batch(f"train/step{row['step']}/batch/")
        slots = len(offered.ids)
        free, _ = learner.free(canvas, slots)
        if free:
            learner.refill(canvas, some(offered, learner.slots[canvas].halted))
        metrics = learner.step(canvas)
        assert learner.gradient_norm is not None
        sums = {"loss": metrics.loss, "lm_loss": metrics.token_loss, "q_halt_loss": metrics.halting_loss}
        sums["q_continue_loss"] = metrics.continue_loss
        after = learner.slots[canvas]
        log.append(
            {
                **{name: value.item() / slots for name, value in sums.items()},
                "grad_norm": learner.gradient_norm.item(),
                "halted": after.halted.tolist(),
                "act_steps": after.steps.tolist(),
            }
        )
    return learner, log


def rounds_alike(case: Case) -> bool:
    """Whether this machine adds in the recording's order: its first logits are then equal to the last bit."""
    return torch.equal(evaluate(case)[0][0], case.tensors["eval/step1/logits"])


def assert_close(name: str, got: Tensor, expected: Tensor, tolerance: float, wide: Tensor | None) -> None:
    """Equal within the tolerance, or, on machines that round otherwise, within what rounding alone moves.

    `wide` is our own result in float64. Rounding grows sixfold a step in the token MLP, so that on another CPU not even
    the published code would meet its own numbers; a model that is wrong is wrong from the first step on.
    """
    if wide is not None:
        tolerance = max(tolerance, ROUNDING_MARGIN * (got - wide).abs().max().item())
    difference = (got - expected).abs().max().item()
    assert difference <= tolerance, f"{name}: expected within {tolerance:.1e}, got a difference of {difference:.1e}"


def test_evaluation(case: Case) -> None:
    wide = None if rounds_alike(case) else evaluate(case, torch.float64)
    for step, (logits, halting, loss) in enumerate(evaluate(case)):
        expected = case.under(f"eval/step{step + 1}/")
        other = wide[step] if wide else (None, None, None)
        assert_close(f"logits of step {step + 1}", logits, expected["logits"], 1e-4, other[0])
        assert_close(f"halting of step {step + 1}", halting, expected["q_halt_logits"], 1e-4, other[1])
        allowed = 1e-5 * expected["loss"].abs().item()
        assert_close(f"loss of step {step + 1}", loss, expected["loss"], allowed, other[2])


@pytest.mark.slow
def test_training(case: Case) -> None:
    learner, log = train(case)
    wide_learner, wide_log = (None, None) if rounds_alike(case) else train(case, torch.float64)
    for step, (got, expected) in enumerate(zip(log, case.meta["train_log"], strict=True)):
        for name, relative in LOGGED:
            if name not in expected:
                continue  # only a Q-learning case has a loss of continuing
            wide = torch.tensor(wide_log[step][name]) if wide_log else None
            values = torch.tensor(got[name]), torch.tensor(expected[name])
            assert_close(f"{name} of step {step + 1}", *values, relative * abs(expected[name]), wide)
        if wide_log and abs(wide_log[step]["q_halt_loss"] - got["q_halt_loss"]) > 1e-4:
            return  # rounding alone decides from here on which slots halt
        assert (got["halted"], got["act_steps"]) == (expected["halted"], expected["act_steps"])
    check_final(case, learner, wide_learner)


def check_final(case: Case, learner: Learner, wide: Learner | None) -> None:
    """Parameters, their average and the table after the last step."""
    final, _ = our_state({n: t for n, t in case.under("train/final/").items() if n != "puzzle_emb"})
    averaged, _ = our_state(case.under("train/final_ema/"))
    for average, expected in ((False, final), (True, averaged)):
        parameters, wide_parameters = (trunk_parameters(which, average) for which in (learner, wide))
        assert expected.keys() == parameters.keys()
        for name, tensor in expected.items():
            assert_close(name, parameters[name], tensor, 1e-4, wide_parameters.get(name))
    differing = (learner.table.detach() - case.tensors["train/final/puzzle_emb"]).abs() > 1e-4
    assert differing.float().mean().item() < 1e-3


def trunk_parameters(learner: Learner | None, average: bool) -> dict[str, Tensor]:
    if learner is None:
        return {}
    trunk = learner.averaged()[0] if average else learner.model
    return {name: parameter.detach() for name, parameter in trunk.named_parameters()}
