"""The record behind a report: what is no such record is refused, in one line."""

import json
from pathlib import Path

import pytest

from solver.answers.run_json import read_run
from solver.common.checks import InputError
from solver.report.page import write_report
from tests.solver.report.report_samples import CURVE, FULL, RUN, changed

CANDIDATE = ("tasks", 0, "test", 0, "candidates", 0)
STEP = ("tasks", 0, "test", 0, "steps", 2)
BAD_RUNS = {
    "no object": ([], ["an object", "got []"]),
    "another file": ({"a": [{"attempt_1": [[1]]}]}, ["a run.json", "attempt_1"]),
    "format": (changed(("format",), 2), ["format", "expected 1", "got 2"]),
    "source": (changed(("source",), 3), ["'source'", "a string", "got 3"]),
    "seed": (changed(("seed",), 1.5), ["'seed'", "a whole number", "got 1.5"]),
    "seconds": (changed(("seconds", "fit"), "long"), ["seconds: 'fit'", "a number", "'long'"]),
    "negative": (changed(("seconds", "fit"), -1.0), ["seconds: 'fit'", "0 or more"]),
    "note": (changed(("notes", 0), 3), ["notes[0]", "got 3"]),
    "score": (changed(("score", "tasks_mean"), ...), ["score: 'tasks_mean'", "got none"]),
    "score total": (changed(("score", "tasks_all", "total"), True), ["score.tasks_all: 'total'", "got True"]),
    "baseline": (changed(("baseline",), 0.5), ["'baseline'", "got 0.5"]),
    "no tasks": (changed(("tasks",), ...), ["'tasks'", "got none"]),
    "task": (changed(("tasks", 1), 5), ["tasks[1]", "got 5"]),
    "id": (changed(("tasks", 1, "id"), None), ["tasks[1]: 'id'", "got None"]),
    "train": (changed(("tasks", 0, "train", 0, "input"), [[10]]), ["tasks[0] 'whole': train[0].input[0][0]", "10"]),
    "truth": (changed(("tasks", 0, "test", 1, "truth"), [[]]), ["'whole': test[1].truth[0]", "got 0 cells"]),
    "one attempt": (changed(("tasks", 0, "test", 0, "attempts"), [[[1]]]), ["test[0].attempts", "2 grids", "got 1"]),
    "attempt": (changed(("tasks", 0, "test", 0, "attempts", 1), "x"), ["test[0].attempts[1]", "got 'x'"]),
    "candidate": (changed((*CANDIDATE, "grid"), [[0.5]]), ["candidates[0].grid[0][0]", "got 0.5"]),
    "votes": (changed((*CANDIDATE, "votes"), 10**30), ["candidates[0]: 'votes'", "a whole number"]),
    "halting": (changed((*CANDIDATE, "halting"), 1.01), ["candidates[0].halting", "0..1", "got 1.01"]),
    "weight": (changed((*CANDIDATE, "weight"), -1, FULL), ["candidates[0]: 'weight'", "0 or more", "got -1"]),
    "curve": (changed(("curve",), None, FULL), ["'curve'", "a list", "got None"]),
    "reading": (changed(("curve", 1), 5, FULL), ["curve[1]", "step, seconds, loss, exact", "got 5"]),
    "long reading": (changed(("curve", 1), [1] * 5, FULL), ["curve[1]", "step, seconds, loss, exact"]),
    "half a step": (changed(("curve", 0, 0), 1.5, FULL), ["curve[0]: 'step'", "a whole number", "got 1.5"]),
    "true step": (changed(("curve", 0, 0), True, FULL), ["curve[0]: 'step'", "got True"]),
    "no loss": (changed(("curve", 2, 2), None, FULL), ["curve[2]: 'loss'", "a number", "got None"]),
    "huge loss": (changed(("curve", 2, 2), 1e300, FULL), ["curve[2]: 'loss'", "a number"]),
    "negative seconds": (changed(("curve", 0, 1), -0.5, FULL), ["curve[0]: 'seconds'", "got -0.5"]),
    "exact": (changed(("curve", 1, 3), 1.5, FULL), ["curve[1].exact", "0..1", "got 1.5"]),
    "steps back": (changed(("curve", 2, 0), CURVE[1][0], FULL), ["curve[2]: 'step'", "after step 20", "got 20"]),
    "steps": (changed(STEP[:-1], {}, FULL), ["'steps'", "a list", "got {}"]),
    "step": (changed(STEP, [], FULL), ["steps[2]", "an object", "got []"]),
    "step without grid": (changed((*STEP, "grid"), ..., FULL), ["steps[2]: 'grid'", "got none"]),
    "step's grid": (changed((*STEP, "grid"), [[11]], FULL), ["steps[2].grid[0][0]", "got 11"]),
    "grid in words": (changed((*STEP, "grid"), "x", FULL), ["steps[2]: 'grid'", "a list", "got 'x'"]),
    "step's halting": (changed((*STEP, "halting"), 2, FULL), ["steps[2].halting", "0..1", "got 2"]),
    "null halting": (changed((*STEP, "halting"), None, FULL), ["steps[2]: 'halting'", "got None"]),
    "changed": (changed((*STEP, "changed"), 0.5, FULL), ["steps[2]: 'changed'", "a whole number", "got 0.5"]),
    "step without changed": (changed((*STEP, "changed"), ..., FULL), ["steps[2]: 'changed'", "got none"]),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_a_bad_record_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    document, words = BAD_RUNS[name]
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        read_run(tmp_path)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    assert all(word in message for word in ["expected", "got", *words]), message
    if isinstance(document, dict):
        with pytest.raises(InputError):
            write_report(document, tmp_path / "report.html")
        assert not (tmp_path / "report.html").exists()


def test_missing_and_infinite_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json: expected a file"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(RUN).replace("12.5", "1e999"))
    with pytest.raises(InputError, match="seconds: 'fit': expected a number"):
        read_run(tmp_path)
