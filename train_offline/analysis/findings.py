"""The output of an analysis: NAME.json with every figure, NAME.png, and NAME.md with a row for docs/results.md."""

import hashlib
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import torch

from solver.common.checks import InputError
from solver.common.files import write_atomically, write_atomically_with
from solver.model.weights import WEIGHTS
from solver.settings.options import FOLDER, SHIPPED
from train_offline.analysis.inputs import AnalysisOptions, Subject, open_subject
from train_offline.cost import si

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIGEST_LENGTH = 16  # hexadecimal characters of a checkpoint's sha256
_BLOCK = 2**24  # bytes read at a time

Options = TypeVar("Options", bound=AnalysisOptions)


@dataclass(frozen=True)
class Findings:
    """The result of an analysis."""

    figures: Mapping[str, Any]  # ready for JSON
    rows: Sequence[Mapping[str, str]]  # of the Markdown table: column -> text, all with the same columns


def carry_out(
    name: str,
    options: Options,
    analyze: Callable[[Subject, Options], Findings],
    draw: Callable[[Mapping[str, Any]], "Figure"],
) -> int:
    """Open the subject, analyze it, write and print the findings."""
    require_matplotlib()
    subject, began = open_subject(options), time.perf_counter()
    for line in subject.warnings:
        print(line)
    findings = analyze(subject, options)
    seconds = time.perf_counter() - began
    document = {**heading(name, options, subject), "seconds": round(seconds, 3), "figures": findings.figures}
    rows = [{**_first_columns(options, subject, document), **row} for row in findings.rows]
    figure = draw(findings.figures)
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


def require_matplotlib() -> None:
    """Raise InputError if the optional package is missing; called before any work."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise InputError("analyze: expected the package matplotlib, got none: pip install matplotlib") from None


def heading(name: str, options: AnalysisOptions, subject: Subject) -> dict[str, Any]:
    """The checkpoint, the command and the machine."""
    return {
        "analysis": name,
        "command": command_line(name, options),
        "checkpoint": {
            "name": options.weights.name,
            "digest": file_digest(options.weights),
            "puzzle_embeddings": len(subject.knowledge.rows),
            "manifest": manifest_summary(subject.knowledge.manifest),
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


def file_digest(weights: Path) -> str:
    """The first digits of the sha256 of the weights in a folder, or of a checkpoint file."""
    digest = hashlib.sha256()
    with (weights / WEIGHTS if weights.is_dir() else weights).open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()[:DIGEST_LENGTH]


def manifest_summary(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The training data of a checkpoint, without the lists of tasks."""
    copied = ("digest", "seed", "augmentations", "leaks_allowed", "pairs_dropped")
    corpora = manifest.get("corpora")
    parts = ("name", "demonstrations_only", "weight", "tasks", "pairs")
    short = [{key: c.get(key) for key in parts} for c in corpora or [] if isinstance(c, dict)]
    return {**{key: manifest[key] for key in copied if key in manifest}, **({"corpora": short} if corpora else {})}


def _first_columns(options: AnalysisOptions, subject: Subject, document: Mapping[str, Any]) -> dict[str, str]:
    checkpoint, census = document["checkpoint"], subject.census
    fitted = f" after {options.fit_steps} fitting steps" if options.fit_steps else ""
    leaks = ", leaks allowed" if subject.knowledge.saw_test_outputs else ""
    seen = census["trained_on_with_outputs"]
    leaks += f", {seen} tasks trained on with their outputs" if seen else ""
    left_out = census["left_out_unknown_to_the_checkpoint"]
    tasks = f"{census['tasks']} tasks, {census['test_outputs']} outputs"
    return {
        "checkpoint": f"{options.weights.name} ({checkpoint['digest'][:8]}){fitted}{leaks}",
        "looked at": tasks + (f" ({left_out} tasks unknown to it)" if left_out else ""),
    }


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table with a header row."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def percent(figure: Mapping[str, float] | None) -> str:
    """An estimate as text: 12.0% (4.0–20.0%)."""
    if figure is None:
        return "–"
    return f"{figure['mean']:.1%} ({100 * figure['low']:.1f}–{figure['high']:.1%})"


def number(value: float | None, unit: str = "") -> str:
    """Three digits, an SI prefix and a unit, or – for None."""
    return "–" if value is None else si(value, unit)
