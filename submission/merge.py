"""`arc-trm merge FILE…`: one submission from what several solvers answer. Imports no torch."""

import math
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from solver.answers import candidates_json, submission_json
from solver.answers.attempts import Answers, answers_of
from solver.answers.candidates_json import Candidates, GridKey, grid_key
from solver.answers.submission_json import Attempts
from solver.answers.votes import Candidate
from solver.common.checks import InputError, at_least, shown
from solver.common.files import file_name
from solver.tasks.load import load_tasks
from solver.tasks.task import Task

_RANKED_FIRST = math.lcm(*range(1, 41))
"""What the first of a ranked list counts; rank r counts this over r, in whole numbers, exactly up to rank 40."""


def merge(
    sources: Sequence[Mapping[str, list[list[Candidate]]]], weights: Sequence[float], names: Sequence[str] = ()
) -> Candidates:
    """What all `sources` know of each test output, best first: the union of their tasks, in order of appearance.

    A source gives a grid its weight times the grid's share of the weights that it lists for the test output or, where
    it lists none, times 1/rank over their sum. Scores of equal grids add; ties keep the order of sources, then of
    ranks. A merged candidate's `weight` is its score, `votes` the sum of its votes, `halting` their mean, 0.0 without
    any.

    `names`: what messages call the sources. Raises InputError for sources that disagree on the number of a task's test
    outputs, and unless there is one weight for each source, finite, 0 or more, not all 0.
    """
    _check_weights(weights, len(sources))
    counts = _test_counts(sources, names or [f"source {number}" for number, _ in enumerate(sources, start=1)])
    # Exact, and of the number as it was typed: 0.1 and 0.2 tie with 0.3, and scaled weights give the same order.
    factors = [Fraction(repr(float(weight))) for weight in weights]
    return {
        task_id: [
            _merge_one(
                [(s[task_id][index], factor) for s, factor in zip(sources, factors, strict=True) if task_id in s]
            )
            for index in range(count)
        ]
        for task_id, count in counts.items()
    }


def _merge_one(lists: Sequence[tuple[Sequence[Candidate], Fraction]]) -> list[Candidate]:
    """The candidates of one test output, best first, from a list and a weight of every source that knows the task."""
    scores: dict[GridKey, Fraction] = {}
    merged: dict[GridKey, Candidate] = {}  # in the order that decides ties
    for candidates, factor in lists:
        for candidate, share in zip(candidates, _shares(candidates), strict=True):
            key = grid_key(candidate)
            scores[key] = scores.get(key, Fraction()) + factor * share
            known = merged.setdefault(key, Candidate(candidate.grid, 0, 0.0))
            if known.votes and candidate.votes:
                known.add(candidate.votes, candidate.halting, 0.0)
            elif candidate.votes:
                known.votes, known.halting = candidate.votes, candidate.halting
    for key, candidate in merged.items():
        candidate.weight = float(scores[key])
        candidate.halting = min(candidate.halting, 1.0)  # a mean can be rounded up past it
    return [merged[key] for key in sorted(merged, key=lambda key: -scores[key])]


def _shares(candidates: Sequence[Candidate]) -> list[Fraction]:
    """What each candidate of a list gets of the list's weight: by what its votes weigh, by votes, or else by rank."""
    counts = [Fraction(candidate.weight) for candidate in candidates]
    if not any(counts):
        counts = [Fraction(candidate.votes) for candidate in candidates]
    if not any(counts):
        counts = [Fraction(_RANKED_FIRST // rank) for rank in range(1, len(candidates) + 1)]
    total = sum(counts)
    return [count / total for count in counts]


def _check_weights(weights: Sequence[float], count: int) -> None:
    if not count:
        raise InputError("merge: expected at least one file, got none")
    if len(weights) != count:
        raise InputError(f"weights: expected {count}, one for each file, got {len(weights)}")
    for weight in weights:
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(f"weights: expected finite numbers, 0 or more, got {weight:g}")
    if not 0 < sum(weights) < math.inf:
        raise InputError(f"weights: expected a finite sum above 0, got {sum(weights):g}")


def _test_counts(sources: Sequence[Mapping[str, Sequence[object]]], names: Sequence[str]) -> dict[str, int]:
    """Task id -> number of its test outputs, on which all sources must agree."""
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


def _answers(candidates: Candidates, tasks: Sequence[Task] | None) -> Answers:
    """The attempts at every test input of `tasks`; None: of the tasks that have candidates, without fallbacks."""
    if tasks is not None:
        return answers_of(tasks, _padded(candidates, tasks))
    return {
        task_id: [_best_two(one, f"task {shown(task_id)}: [{index}]") for index, one in enumerate(tests)]
        for task_id, tests in candidates.items()
    }


def _padded(candidates: Candidates, tasks: Sequence[Task]) -> Candidates:
    """The candidates of `tasks` alone, in their order; empty lists where none are known."""
    return {task.id: candidates.get(task.id) or [[] for _ in task.test] for task in tasks}


def _best_two(candidates: Sequence[Candidate], where: str) -> Attempts:
    if not candidates:
        raise InputError(
            f"merge: {where}: expected a candidate in one of the files, got none: give --challenges to fill up"
        )
    return candidates[0].grid, candidates[min(1, len(candidates) - 1)].grid


def _differing(answers: Answers, candidates: Candidates, tasks: Sequence[Task] | None) -> int:
    """Pairs of attempts in `answers` that hold other grids than those that follow from `candidates` in their order.

    The order within a pair scores nothing, so it counts for nothing. What `candidates` do not know differs.
    """
    if tasks is None:
        known = {task_id: [one[:2] for one in tests] for task_id, tests in candidates.items()}
        first = {task_id: [[c.grid for c in one] for one in tests] for task_id, tests in known.items()}
    else:
        filled = answers_of(tasks, _padded(candidates, tasks))
        first = {task_id: [list(attempts) for attempts in tests] for task_id, tests in filled.items()}
    return sum(
        not _same_grids(attempts, first[task_id][index] if task_id in first else [])
        for task_id, tests in answers.items()
        for index, attempts in enumerate(tests)
    )


def _same_grids(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
    return {(grid.shape, grid.tobytes()) for grid in one} == {(grid.shape, grid.tobytes()) for grid in other}


def _check_places(out: Path, beside: Path | None, inputs: Sequence[str | Path]) -> None:
    """Raise InputError if what is written would replace an input, or the one file the other."""
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
    """Merge what several solvers answer into one submission.

    Every FILE is a submission.json of any tool, a candidates.json (ranked grids of every test output, with votes if
    there are any), or a run.json of arc-trm solve.

    Each file gives each of its grids a score: with votes, the grid's share of what all votes that the file lists for
    that test output weigh, times the file's weight. Without votes, as in a submission, 1/rank takes the place of the
    votes: of two attempts the first gets 2/3 of the weight, the second 1/3. Scores of equal grids add, and the two best
    grids become the attempts. Ties go to the file named first, then to the better rank. A file that lacks a task says
    nothing on it; a file of weight 0 only fills places that no other file has a grid for. Merge the original files
    rather than earlier merges: a candidates.json keeps the merged score as its weight.

    For example: arc-trm merge a/submission.json b/candidates.json --weights 1 0.5 --out merged.json

    Args:
        files: What to merge, the most trusted first: ties go to it.
        out: Where the submission goes; none of the files.
        weights: One for each file, in their order: finite, 0 or more. Left out, all count alike.
        challenges: The tasks to answer, as for arc-trm solve: exactly these are written, and the test input and the
            commonest demonstration output fill what no file knows. Left out, the tasks of all files are written, and
            every test output needs at least one grid.
        candidates: Write so many of the best merged grids of every test output to candidates.json beside --out, too.
    """
    at_least("candidates", candidates, 1)
    given = weights or (1.0,) * len(files)
    _check_weights(given, len(files))
    beside = None if candidates is None else out.parent / candidates_json.FILE_NAME
    _check_places(out, beside, [*files, *([challenges] if challenges else [])])
    tasks = None if challenges is None else load_tasks(challenges)
    sources, names = [candidates_json.read(path) for path in files], [file_name(path) for path in files]
    if tasks is not None and challenges is not None:
        _check_covered(tasks, file_name(challenges), sources, names)
    merged = merge(sources, given, names)
    answers = _answers(merged, tasks)
    submission_json.write(out, answers)
    if beside is not None and candidates is not None:
        candidates_json.write(beside, merged if tasks is None else _padded(merged, tasks), candidates)
    outputs = sum(map(len, answers.values()))
    change = f"{_differing(answers, sources[0], tasks)} pairs of attempts differ from those of {names[0]}"
    print(f"{file_name(out)}: {len(files)} files, {len(answers)} tasks, {outputs} test outputs; {change}")
    return 0
