"""ARC as a training problem: which rows and examples, and what a score counts."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from solver.common.clock import Clock
from solver.learning.ranks import Ranks
from solver.model.trm import TRM
from solver.model.weights import Knowledge
from solver.predict import Predictions, Predictor, Samples
from solver.settings.config import CanvasMode
from tests.solver.samples import grid
from tests.train_offline.problems.small_corpora import hidden, pair, save, task
from tests.train_offline.tiny_runs import CPU, tiny_config
from train_offline.problems.arc_problem import arc_problem
from train_offline.problems.corpora import load_corpora
from train_offline.problems.problem import Problem


@pytest.fixture(autouse=True)
def nothing_else_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "train_offline.problems.arc_problem.load_corpora", partial(load_corpora, held_out_by_default=())
    )


def problem(folder: Path, rows: str = "adam_atan2") -> Problem:
    return arc_problem(tiny_config(folder, rows=rows), 0, CPU)


def test_rows_are_of_tasks_or_of_variants(tmp_path: Path) -> None:
    shared, own = problem(tmp_path), problem(tmp_path, "sign_sgd")
    assert [name for name, _ in shared.rows] == ["a", "b"]
    assert shared.row_count == 2
    assert own.row_count == len(own.rows) == 24
    assert len({digest for _, digest in own.rows}) == 2
    assert sorted(own.rows.values()) == list(range(24))
    assert sum("|||t3|||" in name for name, _ in own.rows) >= 2


def test_test_outputs_of_a_demonstrations_corpus_are_never_drawn(tmp_path: Path) -> None:
    made = problem(tmp_path)
    secret = np.array(pair(6)["output"])
    colours = {tuple(sorted(np.unique(secret, return_counts=True)[1].tolist()))}
    stream = made.stream
    for canvas in stream.canvases:
        labels = stream.draw(canvas, 100, slice(None)).labels.numpy()
        for row in labels:
            counts = np.unique(row[row >= 2], return_counts=True)[1]
            assert tuple(sorted(counts.tolist())) not in colours


def test_the_score_counts_the_canonical_pass_and_both_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three test outputs of two tasks; votes right in the canonical pass, right in the second place, and never."""
    truth, other = grid("12", "34"), grid("11", "11")
    answers = {0: [truth, truth, truth], 1: [other, other, truth], 2: [other, other, other]}

    def run(self: Any, first: int, last: int, clock: Clock, autocast: Any = None) -> Iterator[Predictions]:
        for vote in range(first, last):
            tokens = torch.from_numpy(np.stack([answers[test][vote] for test in answers])) + 2
            padded = torch.zeros(3, 4, 4, dtype=torch.int8)
            padded[:, :2, :2] = tokens
            padded[:, 2, :2] = padded[:, :2, 2] = 1
            samples = Samples(np.arange(3), np.zeros(3, int), np.zeros(3, np.uint8), np.tile(np.arange(10), (3, 1)))
            samples = samples._replace(permutation=samples.permutation.astype(np.uint8))
            yield Predictions(samples, padded, (padded - 2).clamp(min=0).to(torch.uint8), torch.zeros(3))

    monkeypatch.setattr(Predictor, "run", run)
    tests = [{"input": hidden(pair(k))["input"], "output": truth.tolist()} for k in (3, 4, 5)]
    ours = {"c": task([pair(1), pair(2)], tests[:1]), "d": task([pair(7), pair(8)], tests[1:])}
    save(tmp_path / "c.json", ours)
    config = tiny_config(tmp_path)
    data = (f"{tmp_path / 'c.json'}:demonstrations",)
    config = replace(config, arc=replace(config.arc, data=data), evaluation=replace(config.evaluation, votes=3))
    made = arc_problem(config, 0, CPU)
    figures = made.evaluate(TRM(config.model), torch.zeros(1, 16), Ranks(), None)
    assert figures == {
        "canonical": pytest.approx(1 / 3), "pass@1": pytest.approx(1 / 3), "pass@2": pytest.approx(2 / 3), "outputs": 3,
        "canonical by task": 0.5, "pass@1 by task": 0.5, "pass@2 by task": 0.75, "tasks": 2,
    }  # fmt: skip


def test_held_out_tasks_with_nothing_to_train_on_are_announced(tmp_path: Path) -> None:
    save(tmp_path / "twin.json", task([pair(6)], [pair(6)]))
    config = tiny_config(tmp_path)
    data = (*config.arc.data, f"{tmp_path / 'twin.json'}:demonstrations")
    made = arc_problem(replace(config, arc=replace(config.arc, data=data)), 0, CPU)
    assert made.lines[-1] == "not scored, as none of their pairs is left to train on: 1 tasks"


@pytest.mark.parametrize("mode", get_args(CanvasMode))
def test_the_manifest_tells_the_canvases_so_that_solve_takes_the_same(mode: CanvasMode, tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    made = arc_problem(replace(config, canvases=replace(config.canvases, mode=mode)), 0, CPU)
    assert Knowledge(TRM(config.model), torch.zeros(1, 16), made.rows, made.manifest).canvas_mode == mode
