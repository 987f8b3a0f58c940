"""Pictures for notebooks: the right grids in the right rows, and nothing of a task that could be markup."""

import re
from dataclasses import replace

import numpy as np
import pytest

from solver.answers.attempts import fallbacks
from solver.answers.run_json import Run, check_run
from solver.report.pictures import draw_failures, draw_task, draw_variants, draw_votes, failing_tasks
from solver.tasks.task import Task, without_test_outputs
from tests.solver.samples import MIRROR, TALL, TASKS
from tests.solver.tiny_tasks import refusal


def record(tasks: list[Task]) -> Run:
    """A run's record: fallback attempts; of every first test output the truth was voted for, but not enough."""
    of_tasks = []
    for task in tasks:
        train = [{"input": p.input.tolist(), "output": np.asarray(p.output).tolist()} for p in task.train]
        tests = []
        for number, pair in enumerate(task.test):
            truth = np.asarray(pair.output).tolist()
            voted = [{"grid": [[0, 0, 0]], "votes": 5, "halting": 0.5}, {"grid": truth, "votes": 2, "halting": 0.5}]
            found = {"votes": 0, "candidates": []} if tests else {"votes": 7, "candidates": voted}
            grids = [grid.tolist() for grid in fallbacks(task, number)]
            tests.append({"input": pair.input.tolist(), "truth": truth, "attempts": grids, **found})
        of_tasks.append({"id": task.id, "train": train, "test": tests})
    about = {"format": 1, "source": "samples", "preset": "tiny", "seed": 0, "seconds": {}, "notes": []}
    return check_run({**about, "tasks": of_tasks}, "record")


@pytest.fixture
def run() -> Run:
    return record(TASKS)


def labels(html: str) -> list[str]:
    return re.findall(r'aria-label="([^"]*)"', html)


def test_a_task_is_drawn_with_what_is_known() -> None:
    drawn = draw_task(MIRROR)
    assert len(labels(drawn.html)) == 2 * (3 + 2)
    assert "arc-trm" in drawn._repr_html_()
    unknown = draw_task(without_test_outputs(MIRROR))
    assert len(labels(unknown.html)) == 2 * 3 + 2
    assert "&lt;b&gt;" in draw_task(replace(MIRROR, id="<b>")).html


def test_variants_are_the_identity_the_symmetries_and_colours() -> None:
    html = draw_variants(TALL, 10).html
    assert len(labels(html)) == 2 * 10
    assert "tall|||t1|||" in html
    assert "1 rows by 3 columns" in labels(html)[0]
    assert any("3 rows by 1 columns" in label for label in labels(html)[2:4]), "turned by a quarter"


def test_votes_show_truth_attempts_and_candidates(run: Run) -> None:
    html = draw_votes(run, "mirror").html
    assert len(labels(html)) == (1 + 1 + 2 + 2) + (1 + 1 + 2)
    assert "2 of 7 votes, ✓ right" in html
    assert len(labels(draw_votes(run, "mirror", candidates=1).html)) == len(labels(html)) - 1
    assert "'none'" in refusal(lambda: draw_votes(run, "none"))


def test_failures_say_whether_the_truth_was_voted_for(run: Run) -> None:
    assert failing_tasks(run) == ["mirror", "tall"]
    html = draw_failures(run).html
    assert "3 of 3 known test outputs are missed" in html
    assert html.count("<td>place 2 of 2</td>") == 2
    assert html.count("<td>no</td>") == 1
    for task in run["tasks"]:
        for test in task["test"]:
            test["truth"] = None
    assert failing_tasks(run) == []
    assert "0 of 0" in draw_failures(run).html
