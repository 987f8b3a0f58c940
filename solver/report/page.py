"""The report's page (score, training curve, table of tasks, one section per task) and `arc-trm report`.

Right and wrong are stated in text, and colour repeats it. The page is complete without its script, which adds sorting,
filters and keys. All text of the record is escaped, and a content security policy blocks other scripts.
"""

import base64
import hashlib
from html import escape
from pathlib import Path
from string import Template
from typing import Annotated

import tyro

from solver.answers.outcome import LEAK_WARNING
from solver.answers.run_json import Run, check_run, read_run, with_truths
from solver.answers.score import NAMES
from solver.common.files import file_name, write_atomically
from solver.report.drawing import Album
from solver.report.fit_chart import draw_fit
from solver.report.standing import standing_of
from solver.report.task_section import draw_task_section
from solver.report.task_table import draw_table
from solver.tasks.load import load_truths

HERE = Path(__file__).parent


def write_report(run: Run, path: str | Path) -> None:
    """Write the report of `run`, a record as in run.json, atomically to `path`. Raises InputError."""
    check_run(run, f"report {file_name(path)}")
    script = (HERE / "page.js").read_text(encoding="utf-8")
    tasks, album = [(task, standing_of(task)) for task in run["tasks"]], Album()
    sections = [draw_task_section(task, standing, index, album) for index, (task, standing) in enumerate(tasks)]
    page = Template((HERE / "page.html").read_text(encoding="utf-8")).substitute(
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        title=f"ARC report: {escape(run['source'])}",
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        header=_header(run),
        fit=draw_fit(run.get("curve", [])),
        table=draw_table(tasks),
        tasks="\n".join(sections),
        shared=album.shared(),
    )
    write_atomically(path, page.encode("utf-8", "backslashreplace"))  # JSON can contain a lone surrogate


def _header(run: Run) -> str:
    facts = {"tasks": len(run["tasks"]), "source": run["source"], "preset": run["preset"], "seed": run["seed"]}
    facts |= {f"{stage} time": f"{seconds:,.1f} s" for stage, seconds in run["seconds"].items()}
    rows = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(str(value))}</dd></div>" for key, value in facts.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in run["notes"] if note != LEAK_WARNING)
    notes = f'<ul class="notes">{notes}</ul>' if notes else ""
    warning = f'<p class="warning">⚠ {escape(LEAK_WARNING)}</p>' if LEAK_WARNING in run["notes"] else ""
    return f"<h1>ARC report</h1>{warning}{_tiles(run.get('score'), run.get('baseline'))}<dl>{rows}</dl>{notes}"


def _tiles(score: Run | None, baseline: Run | None) -> str:
    """The three scores, Kaggle's in large, each with the baseline."""
    if score is None:
        return "<p>Not scored: the true test outputs are not known.</p>"
    tiles = []
    for index, (name, words) in enumerate(NAMES.items()):
        part = score[name]
        counts = f"{part['correct']:g} of {part['total']}"
        counts += f" · baseline {baseline[name]['score']:.1%}" if baseline is not None else ""
        heading = f"<b>{part['score']:.1%}</b><span>{escape(words[:1].upper() + words[1:])}</span>"
        tiles.append(f'<div class="tile{"" if index else " first"}">{heading}<span>{counts}</span></div>')
    return f'<div class="tiles">{"".join(tiles)}</div>'


def command(
    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")],
    out: Path | None = None,
    solutions: str | None = None,
) -> int:
    """Draw a run as one self-contained HTML page: demonstrations, truth, attempts, votes.

    Args:
        run: A run.json, or the folder that holds one.
        out: The page; by default report.html beside run.json.
        solutions: Test outputs that the run did not know, as for `score`. run.json is not changed.
    """
    out = out or (run if run.is_dir() else run.parent) / "report.html"
    record = read_run(run)
    if solutions is not None:
        record = with_truths(record, load_truths(solutions), solutions)
    write_report(record, out)
    print(out)
    return 0
