"""The road on an accelerator: the numbers of the CPU, and budgets of launches and of waits for the device."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.measure import Counting
from solver.common.clock import Clock
from solver.fit import Fitting
from solver.learning.learner import Learner
from solver.model.trm import TRM
from solver.model.weights import fresh_knowledge
from solver.predict import Predictions, Predictor, Samples
from solver.run.solve import Run
from solver.settings.config import CanvasConfig, LearnerConfig, TRMConfig
from solver.tokens.decode import Ballot
from solver.tokens.shuffle import TaskExamples
from solver.tokens.stream import PairStream
from solver.tokens.variants import make_variants
from tests.accelerator import NAME, counting_waits
from tests.solver.samples import TASKS, config, make_fitting, run_through

CPU = torch.device("cpu")
WAITS_PER_STEP = 2  # of training: which slots are free; in float16 also whether gradients overflowed
LAUNCHES_PER_DRAW = 64  # more, where new examples are drawn
BASE = TRMConfig(width=16, heads=2, cycles=2, latent_updates=2, row_tokens=2, row_width=16, canvas=(6, 6))
MODELS = {
    "attention": BASE,
    "mlp": replace(BASE, mixer="mlp", positions="learned"),
    "mamba": replace(BASE, mixer="mamba2_hybrid"),
    "hrm": replace(BASE, networks=2, gradient="one_step", halting="q_learning"),
    "per cell": replace(BASE, embedding="per_cell", positions="rope2d", halting="none"),
}

LAUNCHES_PER_STEP = {"attention": 844, "mlp": 713, "mamba": 2944, "hrm": 1113, "per cell": 831}
"""Operators of a training step that draws nothing, uncompiled; kept small, as on a card each costs microseconds."""


class Training:
    """A few steps on pairs that are drawn, and what they cost."""

    def __init__(self, device: torch.device, model: TRMConfig, autocast: torch.dtype | None = None) -> None:
        torch.manual_seed(0)
        examples = [
            TaskExamples(task.train, make_variants(task.id, 4, seed=0), np.arange(4) + 4 * number)
            for number, task in enumerate(TASKS)
        ]
        stream = PairStream(examples, CanvasConfig("tight", (6,)), 200, model.puzzle_tokens, 0, device)
        trunk, table = TRM(model), torch.randn(8, 16)
        settings = LearnerConfig(lr=1e-5, row_lr=1e-5, warmup_steps=0, supervision_steps=3, exploration=0.5)
        generator = torch.Generator().manual_seed(0)
        self.learner = Learner(trunk.to(device), nn.Parameter(table.to(device)), settings, generator, autocast)
        self.losses, self.waits, self.launches = list[float](), list[Counter[str]](), list[int]()
        for _ in range(5):
            with counting_waits() as waits, Counting(device) as counts:
                canvas, slots = stream.next_step()
                free, mine = self.learner.free(canvas, slots)
                if free:
                    self.learner.refill(canvas, stream.draw(canvas, free, mine))
                metrics = self.learner.step(canvas)
            self.losses.append(metrics.loss.item())
            self.waits.append(waits)
            self.launches.append(counts.launches)
            if len(self.losses) == 1:
                moments = (self.learner.optimizer.state[p]["m"].cpu().clone() for p in self.learner.model.parameters())
                self.gradients = list(moments)  # of the first step, as the optimizer averages them
        for step in self.waits[1:]:  # the first one makes the tables of its canvas
            assert step.total() <= WAITS_PER_STEP, step


@pytest.mark.parametrize("name", MODELS)
def test_training_on_a_device_is_training_on_the_cpu(name: str, accelerator: torch.device) -> None:
    here, there = (Training(device, MODELS[name]) for device in (CPU, accelerator))
    assert there.losses == pytest.approx(here.losses, rel=2e-3)  # recursion amplifies rounding
    if accelerator.type == NAME:  # cards have kernels of their own
        assert min(there.launches) <= LAUNCHES_PER_STEP[name]
        assert max(there.launches[1:]) <= LAUNCHES_PER_STEP[name] + LAUNCHES_PER_DRAW
    for a, b in zip(here.gradients, there.gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3 * float(a.abs().max()), rtol=1e-3)
    torch.testing.assert_close(here.learner.table, there.learner.table.cpu(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_waits_no_more_often(autocast: torch.dtype, accelerator: torch.device) -> None:
    here, there = (Training(device, BASE, autocast) for device in (CPU, accelerator))
    assert there.losses == pytest.approx(here.losses, rel=1e-2)
    assert there.learner.table.isfinite().all()


def fit_and_vote(device: torch.device):  # type: ignore[no-untyped-def]
    """A fit, the votes that it casts, and the waits of prediction and of each ballot."""
    settings = config(6)
    fitting: Fitting = make_fitting(TASKS, fresh_knowledge(settings.model, 0, device), settings)
    list(fitting.run(Clock()))
    predictor, ballot = Predictor(TASKS, fitting.fitted(), settings.predict, settings.canvases), Ballot(3)
    with counting_waits() as waits:
        batches = list(predictor.run(0, 8, Clock()))
    for predictions in batches:
        ballot.add(predictions)
    votes = [(c.grid.tolist(), c.votes, c.halting) for test in range(3) for c in ballot.ranked(test)]
    return fitting, votes, waits, len(batches)


def test_fit_prediction_and_ballot_on_a_device_are_those_of_the_cpu(accelerator: torch.device) -> None:
    here, expected, *_ = fit_and_vote(CPU)
    there, votes, waits, batches = fit_and_vote(accelerator)
    assert there.loss == pytest.approx(here.loss, rel=1e-4)
    assert [vote[:2] for vote in votes] == [vote[:2] for vote in expected]
    assert [vote[2] for vote in votes] == pytest.approx([vote[2] for vote in expected], abs=1e-5)
    # per supervision step: how many samples are still in work; once per canvas, its two tables
    assert waits.total() <= batches * (config().predict.supervision_steps + 2), waits


def test_a_ballot_waits_twice_however_many_grids_are_distinct(accelerator: torch.device) -> None:
    """For their number, and for the grids."""
    device, identity = accelerator, np.tile(np.arange(10), (6, 1))
    tokens, halting = torch.full((6, 3, 3), 4, dtype=torch.int8).to(device), torch.full((6,), 0.5).to(device)
    samples = Samples(np.zeros(6, int), np.zeros(6, int), np.arange(6), identity)
    for distinct in (1, 6):
        colours = torch.arange(6, dtype=torch.uint8)[:, None, None].repeat(1, 3, 3).clamp(max=distinct - 1).to(device)
        ballot = Ballot(1)
        ballot.add(Predictions(samples, tokens, colours, halting))  # the first one makes the tables of the hash
        with counting_waits() as waits:
            ballot.add(Predictions(samples, tokens, colours, halting))
        assert len(ballot.ranked(0)) == distinct
        assert waits.total() == (2 if accelerator.type == NAME else 0), waits
    with pytest.raises(ValueError, match="sample 5: symmetry: expected 0 to 7, got 8"):
        ballot.add(Predictions(samples._replace(symmetry=np.arange(3, 9)), tokens, colours, halting))


def test_a_whole_solve_on_a_device_has_the_votes_of_the_cpu(accelerator: torch.device) -> None:
    settings, found = config(steps=4), []
    for device in (CPU, accelerator):
        ranked = run_through(Run(TASKS, fresh_knowledge(settings.model, 0, device), settings, Clock())).votes.ranked()
        found.append([(c.grid.tolist(), c.votes) for tests in ranked.values() for test in tests for c in test])
    assert found[0] == found[1]
