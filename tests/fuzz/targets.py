"""What is fuzzed: everything that reads a stranger's JSON file, and what must hold of any bytes it is given.

Either the value is valid by the definition, written out again here, and says what the file says; or the file is
refused with an InputError of one printable line. Any other exception is a failure.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from solver.answers import candidates_json, submission_json
from solver.answers.run_json import read_run
from solver.common.checks import InputError
from solver.tasks.load import load_tasks, load_truths
from solver.tasks.task import Task
from tests.solver.report.report_samples import Page, html_of

PAIR = {"input": [[1, 2, 3]], "output": [[3], [2], [1]]}
TASK = {"train": [PAIR, {"input": [[4]], "output": [[5, 6], [7, 8]]}], "test": [{"input": [[0, 9]]}, PAIR]}
CANDIDATE = {"grid": [[1, 2]], "votes": 3, "halting": 0.5}
PART = {"correct": 1.0, "total": 2, "score": 0.5}
SCORE = {"test_outputs": PART, "tasks_mean": PART, "tasks_all": PART}
ATTEMPTS = {"attempt_1": [[1]], "attempt_2": [[2, 3]]}
RUN_TEST = {"input": [[1]], "truth": None, "attempts": [[[1]], [[2]]], "votes": 3, "candidates": [CANDIDATE]}
STEPS = [{"grid": None, "halting": 0, "changed": None}, {"grid": [[1]], "halting": 0.5, "changed": 1}]
HEAD = {"format": 1, "source": "a.json", "preset": "tiny", "seconds": {"fit": 1.5}, "seed": 0, "notes": ["x"]}
CURVE = [[10, 0.5, 2.5, 0], [20, 1, 1.25, 0.5]]

EXAMPLES: dict[str, Any] = {
    "challenges": {"a": TASK, "b": TASK},
    "task": TASK,
    "solved task": {"train": [PAIR], "test": [PAIR, PAIR]},
    "solutions": {"a": [[[0, 9]], PAIR["output"]], "b": [[[1]], PAIR["output"]]},
    "submission": {"a": [ATTEMPTS, ATTEMPTS], "b": [ATTEMPTS, ATTEMPTS]},
    "candidates": {"a": [[CANDIDATE, {"grid": [[5]], "votes": 1, "halting": 0}], []], "b": [[CANDIDATE]]},
    "run": HEAD
    | {"score": SCORE, "baseline": None, "curve": CURVE}
    | {"tasks": [{"id": "a", "train": [PAIR], "test": [RUN_TEST, RUN_TEST | {"steps": STEPS}]}]},
}
"""Valid files, to start from."""


class Targets:
    """The functions under test, each of a path that holds any bytes; they return if all is well."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where the fuzzed file is written again and again; best in memory (/dev/shm)."""
        self.path = folder / "fuzzed.json"
        self._challenges = folder / "challenges.json"
        self._challenges.write_text(json.dumps(EXAMPLES["challenges"]))
        self.by_name: dict[str, tuple[str, Callable[[], object]]] = {  # with the example that it accepts
            "tasks": ("challenges", self._tasks),
            "task": ("task", self._tasks),
            "lenient tasks": ("challenges", self._lenient_tasks),
            "solutions": ("solutions", self._solutions),
            "truths": ("solutions", self._truths),
            "truths of tasks": ("solved task", self._truths),
            "submission": ("submission", self._submission),
            "checked submission": ("submission", self._checked_submission),
            "candidates": ("candidates", self._candidates),
            "candidates of a run": ("run", self._candidates),
            "run": ("run", self._run),
        }

    def run(self, name: str, data: bytes) -> str:
        """Give `data` to the target: "loaded" or "refused". Raises AssertionError, and what the target should not."""
        self.path.write_bytes(data)
        try:
            self.by_name[name][1]()
        except InputError as error:
            message = str(error)
            assert message.startswith(str(self.path)), message
            assert message.isprintable(), "one line, no control characters"
            assert len(message) < len(str(self.path)) + 400, message
            assert "expected" in message, message
            return "refused"
        return "loaded"

    def _document(self) -> Any:
        """What was loaded, which can be nothing but standard JSON."""
        return json.loads(self.path.read_text(encoding="utf-8-sig"), parse_constant=_never, object_pairs_hook=_unique)

    def _tasks(self) -> None:
        tasks = load_tasks(self.path)
        self._hold(tasks)
        document = self._document()
        assert len(tasks) == (1 if _one_task(document) else len(document)), "none is left out"

    def _lenient_tasks(self) -> None:
        self._hold(load_tasks(self.path, lenient=True))

    def _hold(self, tasks: list[Task]) -> None:
        document = self._document()
        by_id = {self.path.stem: document} if _one_task(document) else document
        assert tasks
        assert len({task.id for task in tasks}) == len(tasks)
        for task in tasks:
            assert task.id.isprintable()
            assert 1 <= len(task.id) <= 255
            assert "|||" not in task.id
            for pairs, items in ((task.train, by_id[task.id]["train"]), (task.test, by_id[task.id]["test"])):
                assert len(pairs) == len(items) >= 1
                for pair, item in zip(pairs, items, strict=True):
                    _same(pair.input, item["input"])
                    if item.get("output") is not None:
                        _same(pair.output, item["output"])
                    else:
                        assert pair.output is None
            assert all(pair.output is not None for pair in task.train)

    def _solutions(self) -> None:
        tasks, document = load_tasks(self._challenges, self.path), self._document()
        assert [task.id for task in tasks] == list(EXAMPLES["challenges"])
        for task in tasks:
            for pair, output in zip(task.test, document[task.id], strict=True):
                _same(pair.output, output)

    def _truths(self) -> None:
        truths, document = load_truths(self.path), self._document()
        assert truths
        for task_id, outputs in truths.items():
            entry = document if _one_task(document) else document[task_id]
            plain = [pair["output"] for pair in entry["test"]] if isinstance(entry, dict) else entry
            for output, cells in zip(outputs, plain, strict=True):
                _same(output, cells)

    def _submission(self) -> None:
        expected = {task_id: len(entries) for task_id, entries in EXAMPLES["submission"].items()}
        answers, document = submission_json.read(self.path, expected), self._document()
        assert {task_id: len(entries) for task_id, entries in answers.items()} == expected
        assert document.keys() == expected.keys()
        for task_id, entries in answers.items():
            for attempts, entry in zip(entries, document[task_id], strict=True):
                assert entry.keys() == {"attempt_1", "attempt_2"}
                _same(attempts[0], entry["attempt_1"])
                _same(attempts[1], entry["attempt_2"])
        assert json.loads(submission_json.build(answers)) == document

    def _checked_submission(self) -> None:
        submission_json.check(self.path, {task_id: len(e) for task_id, e in EXAMPLES["submission"].items()})

    def _candidates(self) -> None:
        candidates = candidates_json.read(self.path)
        self._document()
        assert all(task_id.isprintable() for task_id in candidates)
        for entries in candidates.values():
            for candidate in (candidate for entry in entries for candidate in entry):
                _same(candidate.grid, candidate.grid.tolist())
                assert 0 <= candidate.votes <= candidates_json.MOST_VOTES
                assert 0 <= candidate.halting <= 1

    def _run(self) -> None:
        run = read_run(self.path)
        assert run == self._document()
        Page(html_of(run, self.path.parent))


def _never(constant: str) -> None:
    raise AssertionError(f"{constant} was loaded")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a key twice was loaded"
    return dict(pairs)


def _one_task(document: dict[str, Any]) -> bool:
    return isinstance(document.get("train"), list) or isinstance(document.get("test"), list)


def _same(grid: np.ndarray | None, cells: Any) -> None:
    """`grid` is valid, and is what the file says: 1.0 and true are not 1."""
    assert grid is not None
    assert grid.dtype == np.uint8
    assert grid.ndim == 2
    assert 1 <= min(grid.shape) <= max(grid.shape) <= 30
    assert grid.max() <= 9
    assert json.dumps(grid.tolist()) == json.dumps(cells)
