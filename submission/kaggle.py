"""`python -m submission.kaggle`: make the submission on Kaggle. Needs no options.

In the scored run it solves the hidden tasks on every card until the budget is used. Otherwise it rehearses on the
evaluation set, prints the score, and projects how much the scored run will have time for. It writes a valid
submission.json first. Failures are logged in solve.log.
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import tyro

from solver import STARTED
from solver.answers import submission_json
from solver.answers.journal import Busy, own_folder
from solver.answers.outcome import Outcome
from solver.answers.run_json import FILE_NAME, read_run
from solver.answers.score import format_table, score_result
from solver.common.checks import InputError
from solver.common.clock import Clock, command_clock, count_from, format_duration
from solver.report.page import write_report
from solver.settings.options import Duration, SolveOptions, WeightsFolder
from solver.tasks.load import load_tasks
from solver.tasks.task import Task
from submission.challenges import Challenges, is_valid, load_challenges, sample_answers
from submission.environment import EVALUATION, RERUN, SAMPLE, Environment, find_devices, find_environment, find_weights
from submission.logs import log_beside, run_command
from submission.preflight import machine
from submission.workers.supervisor import Plan, Supervisor, lock_of

log = logging.getLogger("arc_trm")


def command(
    input: Path | None = None,
    weights: WeightsFolder | None = None,
    working: Path | None = None,
    budget: Duration = 11.5 * 3600,
    rehearsal_budget: Duration = 540.0,
    devices: Sequence[str] = ("auto",),
    candidates: int | None = None,
    anew: bool = False,
    preflight: bool = False,
    options: Annotated[SolveOptions, tyro.conf.arg(name="")] = SolveOptions(),  # noqa: B008 (it is frozen)
) -> int:
    """Solve Kaggle's test file on every device within the budget, or rehearse outside the scored run.

    Finds the competition's files in either mount layout under /kaggle/input (or KAGGLE_ROOT/input), a weights folder
    among the attached datasets, and the cards, and logs them. A run that was killed continues from its votes if it is
    started again.

    Args:
        input: Folder with arc-agi_test_challenges.json.
        weights: Folder of a trained model, or shipped; if none is attached, a fresh `tiny` model is fitted.
        working: Folder for submission.json, run.json and solve.log.
        budget: Wall clock of the scored run, from its start. Kaggle's 12 h count from the start of the notebook.
        rehearsal_budget: Wall clock of the rehearsal; it ends under 10 minutes by default.
        devices: auto: every CUDA card, or else the CPU; or a list such as cuda:0 cuda:1.
        candidates: Also write candidates.json, with this many candidates per test output.
        anew: Delete the votes of earlier runs in the folder instead of continuing from them.
        preflight: Only print what the machine has and what the run would do.
        options: Settings.
    """
    clock = command_clock(budget)
    environment = find_environment(input, working)
    if preflight:
        for line in _preflight(environment, weights, devices, clock, rehearsal_budget):
            print(line)
        return 0
    out = environment.working / submission_json.FILE_NAME
    with log_beside(out):
        challenges = _first_submission(environment, out)
        if challenges is None:
            return 0
        try:
            if not environment.scored:
                clock = clock.part(rehearsal_budget - clock.elapsed())
            folders = [weights] if weights else find_weights(environment.attached, clock)
            found = find_devices(devices, clock.left())
            run = "the scored run" if environment.scored else f"a rehearsal ({RERUN} is not set)"
            tests = sum(len(task.test) for task in challenges.tasks)
            log.info("%s: %d tasks, %d test outputs, in %s", run, len(challenges.tasks), tests, environment.test)
            used = ", or else ".join(map(str, folders)) or "none, a fresh model is fitted"
            log.info("devices: %s; weights: %s", ", ".join(found), used)
            plan = Plan(
                challenges=challenges,
                source=str(environment.test),
                out=out,
                options=asdict(options),
                devices=found,
                weights=folders,
                forgiving=True,
                candidates=candidates,
                anew=anew,
            )
            if environment.scored:
                Supervisor(plan, clock).run()
            else:
                _rehearse(environment, plan, clock, budget)
        except Exception as error:  # any: a submission exists, and a notebook that fails scores nothing
            expected = isinstance(error, InputError)
            log.error("%s; %s stays as it is", error if expected else repr(error), out, exc_info=not expected)
    return 0


def _preflight(
    environment: Environment, weights: Path | None, devices: Sequence[str], clock: Clock, rehearsal_budget: float
) -> Iterator[str]:
    """What the machine has and what the run would do, as lines. Writes nothing."""
    yield from machine(environment.working)
    folders = [weights] if weights else find_weights(environment.attached, clock)
    yield f"weights, best first: {', '.join(map(str, folders)) or 'none'}; at the end a fresh model"
    found = ", ".join(find_devices(devices, clock.left()))
    source = environment.test if environment.scored else environment.input / EVALUATION[0]
    challenges = load_challenges(source)
    tests = sum(len(task.test) for task in challenges.tasks)
    tasks = f"{len(challenges.tasks)} tasks with {tests} test outputs of {source} on {found}"
    if challenges.broken:
        tasks += f", and answers {len(challenges.broken)} broken ones without a model"
    if environment.scored:
        yield f"the scored run: solves {tasks}, and ends after {format_duration(clock.limit)}"
    else:
        yield f"a rehearsal ({RERUN} is not set): solves {tasks}, ends after {format_duration(rehearsal_budget)}"
        yield f"the scored run will take {format_duration(clock.limit)}; the rehearsal projects what it has time for"


def _first_submission(environment: Environment, out: Path) -> Challenges | None:
    """Write a valid submission before anything else. None if the challenges are unreadable, or the folder is in use."""
    with ExitStack() as lock:
        try:
            lock.enter_context(own_folder(*lock_of(out)))
        except Busy as error:
            log.error("%s; %s stays as it is", error, out)
            return None
        except InputError as error:  # a submission may be possible all the same
            log.error("%s", error)
        sample = environment.input / SAMPLE
        try:
            counts = submission_json.sample_counts(sample)
        except InputError:
            counts = None
        try:
            challenges = load_challenges(environment.test, counts)
            challenges.write_fallbacks(out)
        except InputError as error:
            log.error("%s; submitting what there is, or the sample submission's attempts", error)
            if counts is None or not is_valid(out, counts):
                Challenges([], sample_answers(sample)).write(out, {})
            return None
        return challenges


def _rehearse(environment: Environment, plan: Plan, clock: Clock, full_budget: float) -> None:
    """Solve the evaluation set within the clock, print its score, and log the projection for the scored run."""
    folder = environment.working / "rehearsal"
    source, solutions = (environment.input / name for name in EVALUATION)
    tasks = load_tasks(source, solutions)
    out = folder / submission_json.FILE_NAME
    rehearsal = replace(plan, challenges=Challenges(tasks), source=str(source), out=out)
    outcome = Supervisor(rehearsal, clock).run()
    score = score_result(tasks, outcome.answers(tasks))
    assert score is not None, "the evaluation set's test outputs are known"
    print(format_table(score))
    for note in outcome.notes:
        log.info("%s", note)
    write_report(read_run(folder / FILE_NAME), folder / "report.html")
    log.info("%s", projection(outcome, tasks, plan.challenges.tasks, len(plan.devices), full_budget))
    log.info("%s holds fallback attempts: the scored run replaces them", plan.out)


def projection(outcome: Outcome, rehearsed: Sequence[Task], asked: Sequence[Task], devices: int, budget: float) -> str:
    """How many fitting steps a run of `budget` seconds has time for, if its tasks are like the rehearsed ones."""
    scale, rates = len(asked) / len(rehearsed) / devices, outcome.rates
    votes, tokens = (scale * rates.get(name, 0.0) for name in ("vote_seconds", "pair_tokens"))
    pace = rates.get("fit_seconds", 0.0) / max(1.0, rates.get("fit_tokens", 0.0))
    if not votes or not tokens or not pace:
        return (
            "projection: expected votes and fitting steps to project from, got none: give more --rehearsal-budget, "
            "unless the weights know all rehearsed tasks, which are then voted on without fitting"
        )
    steps = max(0.0, budget - votes) / pace / tokens
    return (
        f"projection: {format_duration(budget)} for {len(asked)} such tasks on {devices} device(s): all votes take "
        f"{format_duration(votes)}, which leaves {steps:,.0f} fitting steps per pair"
    )


def main() -> int:
    """The command line; 0 done, 1 nothing to submit, 2 usage."""
    return run_command(command, "submission.kaggle")


if __name__ == "__main__":
    count_from(STARTED)
    sys.exit(main())
