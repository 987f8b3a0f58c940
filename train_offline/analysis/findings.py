"""The output of an analysis: NAME.json with every figure, NAME.png, and NAME.md with a row for docs/results.md."""

import hashlib
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any

import orjson
import torch

from solver.common.checks import InputError
from solver.common.files import write_atomically, write_atomically_with
from solver.model.weights import WEIGHTS
from solver.settings.options import FOLDER, SHIPPED, SolveOptions
from solver.settings.presets import configured
from train_offline.analysis.inputs import AnalysisOptions, Subject, open_subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Findings = tuple[dict[str, Any], list[dict[str, str]]]
"""The figures, ready for JSON, and the rows of the Markdown table: column -> text, all with the same columns."""


def carry_out(
    name: str,
    options: AnalysisOptions,
    analyze: Callable[[Subject, Any], Findings],
    draw: Callable[[dict[str, Any]], "Figure"],
) -> int:
    """Open the subject, analyze it, write and print the findings."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise InputError("analyze: expected the package matplotlib, got none: pip install matplotlib") from None
    subject, began = open_subject(options), time.perf_counter()
    for line in subject.warnings:
        print(line)
    if not options.supervision_steps:
        suits = configured(SolveOptions(), subject.knowledge.model.config).predict
        options = replace(options, supervision_steps=suits.supervision_steps)
    figures, findings = analyze(subject, options)
    seconds = time.perf_counter() - began
    document = {**heading(name, options, subject), "seconds": round(seconds, 3), "figures": figures}
    census, digest = subject.census, document["checkpoint"]["digest"]
    seen, left_out = census["trained_on_with_outputs"], census["left_out_unknown_to_the_checkpoint"]
    fitted = f" after {options.fit_steps} fitting steps" if options.fit_steps else ""
    leaks = ", leaks allowed" if subject.knowledge.saw_test_outputs else ""
    leaks += f", {seen} tasks trained on with their outputs" if seen else ""
    looked_at = f"{census['tasks']} tasks, {census['test_outputs']} outputs"
    looked_at += f" ({left_out} tasks unknown to it)" if left_out else ""
    checkpoint = f"{options.weights.name} ({digest[:8]}){fitted}{leaks}"
    rows = [{"checkpoint": checkpoint, "looked at": looked_at, **row} for row in findings]
    figure = draw(figures)
    if subject.warnings:
        figure.supxlabel("\n".join(subject.warnings), fontsize=7, color="firebrick")
    path = options.out / name
    write_atomically(path.with_suffix(".json"), orjson.dumps(document, option=orjson.OPT_INDENT_2))
    write_atomically_with(path.with_suffix(".png"), lambda to: figure.savefig(to, format="png", dpi=110), "a picture")
    table = markdown(rows)
    write_atomically(path.with_suffix(".md"), table.encode())
    print(table, end="")
    print(path.with_suffix(".json"))
    return 0


def heading(name: str, options: AnalysisOptions, subject: Subject) -> dict[str, Any]:
    """The checkpoint, the command and the machine."""
    manifest, copied = subject.knowledge.manifest, ("digest", "seed", "augmentations", "leaks_allowed", "pairs_dropped")
    summary = {key: manifest[key] for key in copied if key in manifest}  # without the lists of tasks
    if corpora := manifest.get("corpora"):
        parts = ("name", "demonstrations_only", "weight", "tasks", "pairs")
        summary["corpora"] = [{key: c.get(key) for key in parts} for c in corpora if isinstance(c, dict)]
    digest = hashlib.sha256()
    with (options.weights / WEIGHTS if options.weights.is_dir() else options.weights).open("rb") as file:
        while block := file.read(2**24):
            digest.update(block)
    return {
        "analysis": name,
        "command": command_line(name, options),
        "checkpoint": {
            "name": options.weights.name,
            "digest": digest.hexdigest()[:16],
            "puzzle_embeddings": len(subject.knowledge.rows),
            "manifest": summary,
        },
        "leaks_allowed": subject.knowledge.saw_test_outputs,
        "warnings": list(subject.warnings),
        "census": dict(subject.census),
        "canvas": subject.canvases.mode,
        "decoder": options.decoder,
        "seed": options.seed,
        "torch": torch.__version__,
        "device": str(subject.device),
        "precision": str(subject.autocast or torch.float32).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "gemm_gflops": round(subject.gemm_gflops, 2),
    }


def command_line(name: str, options: AnalysisOptions) -> str:
    """The command line with these options, without those at their default."""
    words = ["arc-trm", "analyze", name, SHIPPED if options.weights == FOLDER else str(options.weights)]
    for field in fields(options):
        value = getattr(options, field.name)
        default = field.default if field.default is not MISSING else None
        if field.name == "weights" or value == default:
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else "--no-" + flag[2:])
        elif field.name == "tasks":
            words += [word for source in value for word in (flag, source)]
        else:
            words += [flag, *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return shlex.join(words)


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table with a header row."""
    columns = list(rows[0])
    cells = [[row[column].replace("|", r"\|").replace("\n", " ") for column in columns] for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def percent(figure: Mapping[str, float]) -> str:
    """An estimate as text: 12.0% (4.0–20.0%)."""
    return f"{figure['mean']:.1%} ({100 * figure['low']:.1f}–{figure['high']:.1%})"
