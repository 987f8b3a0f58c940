"""`arc-trm merge FILE...`: one submission from the answers of several solvers."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from solver.answers import candidates_json, submission_json
from solver.answers.attempts import answers_of
from solver.answers.candidates_json import Candidates
from solver.answers.votes import Candidate, grid_key
from solver.common.checks import InputError, at_least, shown
from solver.common.files import file_name, write_atomically
from solver.tasks.load import load_tasks
from solver.tasks.task import Task

TIE = 1e-9  # scores that differ by less, as a share of all weights, are equal: 0.1 + 0.2 ties with 0.3


def merge(
    sources: Sequence[Mapping[str, list[list[Candidate]]]], weights: Sequence[float], names: Sequence[str] = ()
) -> Candidates:
    """The candidates of all `sources` for each test output, best first. Tasks are in order of appearance.

    A source gives a grid the source's weight times the grid's share of all candidate weights (or votes) that it lists
    for the test output; without either, times 1/rank over the sum of 1/rank. Scores of equal grids add up. Ties (see
    TIE) keep the order of sources, then of ranks. A merged candidate's `weight` is its score, `votes` the sum of its
    votes, `halting` their mean, or 0.0 without votes. `names`: the sources in messages. Raises InputError if sources
    disagree on the number of test outputs, and unless their weights are finite, >= 0 and not all 0.
    """
    if not sources:
        raise InputError("merge: expected at least one file, got none")
    if len(weights) != len(sources):
        raise InputError(f"weights: expected {len(sources)}, one for each file, got {len(weights)}")
    for weight in weights:
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(f"weights: expected finite numbers, 0 or more, got {weight:g}")
    if not 0 < sum(weights) < math.inf:
        raise InputError(f"weights: expected a finite sum above 0, got {sum(weights):g}")
    counts = _test_counts(sources, names or [f"source {number}" for number, _ in enumerate(sources, start=1)])
    pairs = list(zip(sources, weights, strict=True))
    return {
        task_id: [
            _merge_one([(source[task_id][index], weight) for source, weight in pairs if task_id in source])
            for index in range(count)
        ]
        for task_id, count in counts.items()
    }


def _merge_one(lists: Sequence[tuple[Sequence[Candidate], float]]) -> list[Candidate]:
    """The candidates for one test output, best first, from the list and the weight of every source with the task."""
    merged: dict[bytes, Candidate] = {}  # in the order that decides ties
    for candidates, weight in lists:
        for candidate, share in zip(candidates, _shares(candidates), strict=True):
            known = merged.setdefault(grid_key(candidate.grid), Candidate(candidate.grid, 0, 0.0))
            known.weight += weight * share
            if candidate.votes:
                known.add(candidate.votes, candidate.halting, 0.0)
    ordered = sorted(merged.values(), key=lambda c: -c.weight)
    level, tie = math.inf, TIE * sum(weight for _, weight in lists)
    for candidate in ordered:  # within a tie, all get the largest score
        level = candidate.weight if level - candidate.weight > tie else level
        candidate.weight = level
        candidate.halting = min(candidate.halting, 1.0)  # rounding can push a mean above 1
    return sorted(merged.values(), key=lambda c: -c.weight)


def _shares(candidates: Sequence[Candidate]) -> list[float]:
    """Each candidate's share of a list, by weight; without weights by votes; without votes by 1/rank."""
    weights, votes = [c.weight for c in candidates], [float(c.votes) for c in candidates]
    ranks = [1 / rank for rank in range(1, len(candidates) + 1)]
    counts = weights if any(weights) else votes if any(votes) else ranks
    total = math.fsum(counts)
    return [count / total for count in counts]


def _test_counts(sources: Sequence[Mapping[str, Sequence[object]]], names: Sequence[str]) -> dict[str, int]:
    """Task id -> number of test outputs. Raises InputError if sources disagree."""
    known: dict[str, tuple[int, str]] = {}
    for source, name in zip(sources, names, strict=True):
        for task_id, tests in source.items():
            count, other = known.setdefault(task_id, (len(tests), name))
            if count != len(tests):
                wanted = f"{count} test outputs, as in {other}"
                raise InputError(f"{name}: task {shown(task_id)}: expected {wanted}, got {len(tests)}")
    return {task_id: count for task_id, (count, _) in known.items()}


def _check_covered(tasks: Sequence[Task], challenges: str, sources: Sequence[Candidates], names: Sequence[str]) -> None:
    """Raise InputError for a source with a task, or a number of test outputs, that is not the challenges'."""
    wanted = {task.id: task.test for task in tasks}
    for source, name in zip(sources, names, strict=True):
        surplus = [task_id for task_id in source if task_id not in wanted]
        if surplus:
            counts = f"{len(surplus)} others as well, for example {shown(surplus[0])}"
            raise InputError(f"{name}: expected only the {len(wanted)} tasks of {challenges}, got {counts}")
    _test_counts([wanted, *sources], [challenges, *names])


def _answers(candidates: Candidates, tasks: Sequence[Task] | None) -> dict[str, list[Any]]:
    """The attempts for every test input of `tasks`; None: of all tasks with candidates, () where there is none."""
    if tasks is not None:
        return dict(answers_of(tasks, _padded(candidates, tasks)))
    return {
        task_id: [tuple(c.grid for c in (one[:2] * 2)[:2]) for one in tests]  # a single candidate is both attempts
        for task_id, tests in candidates.items()
    }


def _padded(candidates: Candidates, tasks: Sequence[Task]) -> Candidates:
    """The candidates for `tasks`, in their order, with empty lists where none are known."""
    return {task.id: candidates.get(task.id) or [[] for _ in task.test] for task in tasks}


def _check_places(out: Path, beside: Path | None, inputs: Sequence[str | Path]) -> None:
    """Raise InputError if a written file would replace an input or the other written file."""
    taken = {os.path.realpath(path) for path in inputs}
    for path, what in ((out, "an input"), (beside, "an input or --out")):
        if path is not None and os.path.realpath(path) in taken:
            raise InputError(f"{file_name(path)}: expected a place of its own, got {what}: choose another --out")
        taken.add(os.path.realpath(path or out))


def command(
    files: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILE")],
    out: Path,
    weights: tuple[float, ...] = (),
    challenges: str | None = None,
    candidates: int | None = None,
) -> int:
    """Merge the answers of several solvers into one submission.

    Every FILE is a submission.json of any tool, a candidates.json (ranked grids for every test output, with votes if
    known), or a run.json of arc-trm solve.

    Each file gives each of its grids a score: the grid's share of the votes (weighted, if the file has weights) that
    the file lists for that test output, times the file's weight. Without votes, as in a submission, 1/rank takes their
    place: of two attempts the first gets 2/3 of the weight, the second 1/3. Scores of equal grids add up, and the two
    best grids become the attempts. Ties go to the file named first, then to the better rank. A file that lacks a task
    has no say on it. A file of weight 0 only fills places for which no other file has a grid. Merge the original files
    rather than earlier merges: a candidates.json keeps the merged score as its weight.

    For example: arc-trm merge a/submission.json b/candidates.json --weights 1 0.5 --out merged.json

    Args:
        files: The files to merge, the most trusted first: it wins ties.
        out: The submission to write; must not be one of the files.
        weights: One per file, in their order: finite, 0 or more. By default all are 1.
        challenges: The tasks to answer, as for arc-trm solve: the submission has exactly these, and the test input and
            the most common demonstration output fill what no file knows. By default it has the tasks of all files, and
            every test output needs at least one grid.
        candidates: Also write candidates.json beside --out, with this many of the best merged grids per test output.
    """
    at_least("candidates", candidates, 1)
    weights = weights or (1.0,) * len(files)
    beside = None if candidates is None else out.parent / candidates_json.FILE_NAME
    _check_places(out, beside, [*files, *([challenges] if challenges else [])])
    tasks = None if challenges is None else load_tasks(challenges)
    sources, names = [candidates_json.read(path) for path in files], [file_name(path) for path in files]
    if tasks is not None:
        _check_covered(tasks, file_name(str(challenges)), sources, names)
    merged = merge(sources, weights, names)
    answers, before = _answers(merged, tasks), _answers(sources[0], tasks)
    for task_id, tests in answers.items():
        if () in tests:
            where = f"task {shown(task_id)}: [{tests.index(())}]"
            wanted = "a candidate in one of the files, got none: give --challenges to fill up"
            raise InputError(f"merge: {where}: expected {wanted}")
    documents = {out: submission_json.build(answers)}  # all are built before one is written
    if beside is not None and candidates is not None:
        documents[beside] = candidates_json.build(merged if tasks is None else _padded(merged, tasks), candidates)
    for path, data in documents.items():
        write_atomically(path, data)
    differing = sum(  # in any order
        set(map(grid_key, attempts)) != set(map(grid_key, before[task_id][index] if task_id in before else ()))
        for task_id, tests in answers.items()
        for index, attempts in enumerate(tests)
    )
    counts = f"{len(files)} files, {len(answers)} tasks, {sum(map(len, answers.values()))} test outputs"
    print(f"{file_name(out)}: {counts}; {differing} pairs of attempts differ from those of {names[0]}")
    return 0
