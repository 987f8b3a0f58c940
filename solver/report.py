"""report.html: a run as pictures, in one file that needs no network and no script.

A header with the score, a table of contents, and a card for each task: demonstrations, test input, truth, both attempts
and what else was voted for. Right and wrong are said in words; colour only repeats them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from solver.checks import MAX_SIDE
from solver.files import file_name, write_atomically
from solver.run_file import Run, check_run, read_run
from solver.score import NAMES

__all__ = ["draw_grid", "read_run", "verdict", "write_report"]

Cells = Sequence[Sequence[int]]  # a grid as JSON holds it

COLOUR_CODES = (
    *("#000000", "#0074D9", "#FF4136", "#2ECC40", "#FFDC00"),  # black, blue, red, green, yellow
    *("#AAAAAA", "#F012BE", "#FF851B", "#7FDBFF", "#870C25"),  # grey, pink, orange, light blue, dark red
)
GRID_PIXELS = 190  # the longest side of the largest grid of a task; the others are drawn to the same scale
LARGEST_CELL = 22  # pixels, so that a 3x3 grid is no poster
TOP_CANDIDATES = 8

MARKS = {"right": "✓", "partly": "◐", "wrong": "✗", "unknown": "?"}

STYLE = """
:root { color-scheme: light dark; --page: #f4f4f1; --card: #fff; --text: #1d1d1b; --faint: #63635e; --edge: #dcdcd5;
  --line: #55555580; --right: #14692f; --right-bg: #dff3e4; --partly: #7a4d00; --partly-bg: #fdf0d0;
  --wrong: #a31621; --wrong-bg: #fbe3e4; --unknown: #4a4a46; --unknown-bg: #ebebe6; --accent: #0058a8; }
@media (prefers-color-scheme: dark) { :root { --page: #141413; --card: #1f1f1d; --text: #ecece6; --faint: #a3a39b;
  --edge: #383834; --line: #8888; --right: #8fdca4; --right-bg: #17351f; --partly: #f0c96b; --partly-bg: #3a2d10;
  --wrong: #ff9ea3; --wrong-bg: #441b1f; --unknown: #c6c6be; --unknown-bg: #32322e; --accent: #7fb8f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 76rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
h1 { margin: 0 0 1rem; font-size: 1.6rem; letter-spacing: -.01em; }
h2 { margin: 0 0 .75rem; font-size: 1.2rem; display: flex; flex-wrap: wrap; gap: .4rem .75rem; align-items: center; }
h3 { margin: 1.25rem 0 .6rem; font-size: .8rem; letter-spacing: .06em; text-transform: uppercase; color: var(--faint); }
a { color: inherit; } a:hover { color: var(--accent); }
a:focus-visible, summary:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; padding: 1.1rem 1.25rem;
  margin: 0 0 1.1rem; }
section.card { content-visibility: auto; contain-intrinsic-size: auto 900px; scroll-margin-top: 1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 1rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.25; } .tile.first b { font-size: 2.6rem; line-height: 1.1; }
.tile span { display: block; color: var(--faint); font-size: .9rem; }
dl { display: flex; flex-wrap: wrap; gap: .3rem 1.75rem; margin: 1rem 0 0; padding-top: .9rem; font-size: .9rem;
  border-top: 1px solid var(--edge); }
dl div { display: flex; gap: .5rem; } dt { color: var(--faint); } dd { margin: 0; }
.notes { margin: .75rem 0 0; padding-left: 1.2rem; font-size: .9rem; }
.contents { list-style: none; margin: 0; padding: 0; display: grid; gap: .4rem;
  grid-template-columns: repeat(auto-fill, minmax(12.5rem, 1fr)); }
.contents a { display: flex; justify-content: space-between; gap: .5rem; align-items: center; padding: .25rem .6rem;
  border: 1px solid var(--edge); border-radius: 8px; text-decoration: none; font-size: .9rem; }
.mark { font-size: .8rem; font-weight: 600; padding: .1rem .55rem; border-radius: 99px; white-space: nowrap; }
.mark.right { color: var(--right); background: var(--right-bg); }
.mark.partly { color: var(--partly); background: var(--partly-bg); }
.mark.wrong { color: var(--wrong); background: var(--wrong-bg); }
.mark.unknown { color: var(--unknown); background: var(--unknown-bg); }
.row { display: flex; flex-wrap: wrap; gap: 1.1rem 1.5rem; align-items: flex-start; }
.pair { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; padding-right: 1.5rem; color: var(--faint);
  border-right: 1px solid var(--edge); }
.pair:last-child { border: 0; padding: 0; }
figure { margin: 0; max-width: 100%; }
figcaption { margin-top: .4rem; font-size: .85rem; color: var(--faint); line-height: 1.6; }
svg { display: block; max-width: 100%; height: auto; outline: 1px solid var(--line); shape-rendering: crispEdges; }
.lines { fill: none; stroke: #6668; stroke-width: 1px; vector-effect: non-scaling-stroke; }
.bar { height: 4px; border-radius: 2px; background: var(--edge); width: 7rem; margin-top: .4rem; }
.bar i { display: block; height: 100%; border-radius: 2px; background: var(--accent); }
summary { cursor: pointer; margin-top: 1.1rem; font-size: .9rem; color: var(--faint); }
details .row { margin-top: .75rem; }
@media (max-width: 40rem) { .card { padding: .9rem; } .row { gap: 1rem; } .pair { padding: 0; border: 0; } }
@media print { body { max-width: none; } section.card { content-visibility: visible; break-inside: avoid; } }
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header class="card">{header}</header>
<nav class="card" aria-label="Tasks">{contents}</nav>
<main>{tasks}</main>
</body>
</html>
"""


def write_report(run: Run, path: str | Path) -> None:
    """Write the report of `run`, a record as `solver.run_file` describes it, atomically to `path`.

    Raises InputError when the record is not such a one or the file cannot be written.
    """
    check_run(run, f"report {file_name(path)}")
    page = PAGE.format(
        title=f"ARC report: {escape(run['source'])}",
        style=STYLE,
        header=_header(run),
        contents=_contents(run["tasks"]),
        tasks="\n".join(_task(task, index) for index, task in enumerate(run["tasks"])),
    )
    write_atomically(path, page.encode("utf-8", "backslashreplace"))  # JSON can hold half a surrogate pair


def _header(run: Run) -> str:
    facts = {"tasks": len(run["tasks"]), "source": run["source"], "preset": run["preset"], "seed": run["seed"]}
    facts |= {f"{stage} time": f"{seconds:,.1f} s" for stage, seconds in run["seconds"].items()}
    rows = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(str(value))}</dd></div>" for key, value in facts.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in run["notes"])
    notes = f'<ul class="notes">{notes}</ul>' if notes else ""
    return f"<h1>ARC report</h1>{_tiles(run.get('score'), run.get('baseline'))}<dl>{rows}</dl>{notes}"


def _tiles(score: Run | None, baseline: Run | None) -> str:
    """The three scores, each named in words, Kaggle's large; the baseline under each."""
    if score is None:
        return "<p>Not scored: the true test outputs are not known.</p>"
    tiles = []
    for index, (name, words) in enumerate(NAMES.items()):
        part = score[name]
        counts = f"{part['correct']:g} of {part['total']}"
        if baseline is not None:
            counts += f" · baseline {baseline[name]['score']:.1%}"
        kind = "tile first" if index == 0 else "tile"
        heading = f"<b>{part['score']:.1%}</b><span>{escape(words[:1].upper() + words[1:])}</span>"
        tiles.append(f'<div class="{kind}">{heading}<span>{counts}</span></div>')
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _contents(tasks: Sequence[Run]) -> str:
    verdicts = [_task_verdict(task) for task in tasks]
    counts = Counter(kind for kind, _ in verdicts)
    words = {"right": "solved", "partly": "partly solved", "wrong": "unsolved", "unknown": "without truth"}
    summary = ", ".join(f"{counts[kind]} {word}" for kind, word in words.items() if counts[kind]) or "none"
    items = "".join(
        f'<li><a href="#task-{index}"><span>{escape(task["id"])}</span>{_mark(*found)}</a></li>'
        for index, (task, found) in enumerate(zip(tasks, verdicts, strict=True))
    )
    return f'<h2>Tasks</h2><p>{summary}</p><ol class="contents">{items}</ol>'


def _task_verdict(task: Run) -> tuple[str, str]:
    """A key of MARKS and the words for it. Only test outputs with a known truth count."""
    known = [test for test in task["test"] if test.get("truth") is not None]
    right = sum(test["truth"] in test["attempts"] for test in known)
    if not known:
        return "unknown", "no truth"
    if right == len(known):
        return "right", "solved"
    return ("partly", f"{right} of {len(known)}") if right else ("wrong", "unsolved")


def verdict(grid: Cells, truth: Cells | None) -> tuple[str, str]:
    """A key of MARKS and the words for it, for one grid."""
    if truth is None:
        return "unknown", "no truth"
    if grid == truth:
        return "right", "right"
    if (len(grid), len(grid[0])) != (len(truth), len(truth[0])):
        return "wrong", f"wrong: {_size(grid)}, not {_size(truth)}"
    differing = sum(a != b for ours, theirs in zip(grid, truth, strict=True) for a, b in zip(ours, theirs, strict=True))
    return "wrong", f"wrong: {differing} of {len(grid) * len(grid[0])} cells"


def _mark(kind: str, words: str) -> str:
    return f'<span class="mark {kind}">{MARKS[kind]} {words}</span>'


def _task(task: Run, index: int) -> str:
    cell = _cell_pixels(task)
    pairs = "".join(
        f'<div class="pair">{draw_grid(pair["input"], f"demonstration {number}, input", cell)}'
        f'<span aria-hidden="true">→</span>{draw_grid(pair["output"], f"demonstration {number}, output", cell)}</div>'
        for number, pair in enumerate(task["train"], start=1)
    )
    tests = "".join(_test(test, number, cell) for number, test in enumerate(task["test"], start=1))
    heading = f"<h2>{escape(task['id'])} {_mark(*_task_verdict(task))}</h2>"
    demonstrations = f'<h3>Demonstrations</h3><div class="row">{pairs}</div>'
    return f'<section class="card" id="task-{index}">{heading}{demonstrations}{tests}</section>'


def _test(test: Run, number: int, cell: float) -> str:
    name, truth = f"test {number}", test.get("truth")
    figures = [_figure(draw_grid(test["input"], f"{name}, input", cell), "input")]
    if truth is not None:
        figures.append(_figure(draw_grid(truth, f"{name}, truth", cell), "truth"))
    for index, attempt in enumerate(test["attempts"], start=1):
        picture = draw_grid(attempt, f"{name}, attempt {index}", cell)
        figures.append(_figure(picture, f"attempt {index}<br>{_mark(*verdict(attempt, truth))}"))
    candidates = _candidates(test, name, cell * 0.6)
    return f'<h3>Test {number}</h3><div class="row">{"".join(figures)}</div>{candidates}'


def _candidates(test: Run, name: str, cell: float) -> str:
    """The grids with the most votes, in the order of the record; a bar shows the share of all votes."""
    candidates, total = test["candidates"], test["votes"]
    figures = []
    for index, candidate in enumerate(candidates[:TOP_CANDIDATES], start=1):
        share = min(candidate["votes"] / max(total, 1), 1.0)
        bar = f'<div class="bar" aria-hidden="true"><i style="width:{share:.1%}"></i></div>'
        mark = "" if test.get("truth") is None else _mark(*verdict(candidate["grid"], test["truth"])) + "<br>"
        text = f"{mark}{candidate['votes']} of {total} votes<br>mean halting {candidate['halting']:.3f}{bar}"
        figures.append(_figure(draw_grid(candidate["grid"], f"{name}, candidate {index}", cell), text))
    if not figures:
        return ""
    summary = f"Candidates: {len(figures)} of {len(candidates)}, {total} votes in total"
    return f'<details open><summary>{summary}</summary><div class="row">{"".join(figures)}</div></details>'


def _figure(picture: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _cell_pixels(task: Run) -> float:
    """One scale for all grids of a task, so that sizes can be compared by eye."""
    grids = [grid for pair in task["train"] for grid in (pair["input"], pair["output"])]
    for test in task["test"]:
        grids += [test["input"], *test["attempts"], *([test["truth"]] if test.get("truth") is not None else [])]
    side = max((max(len(grid), len(grid[0])) for grid in grids), default=MAX_SIDE)
    return min(GRID_PIXELS / side, LARGEST_CELL)


def _size(grid: Cells) -> str:
    return f"{len(grid)}×{len(grid[0])}"


def draw_grid(grid: Cells, label: str, cell: float) -> str:
    """A grid as a picture, `cell` pixels a cell: the commonest colour as ground, a path for each other one, lines."""
    height, width = len(grid), len(grid[0])
    ground = Counter(value for row in grid for value in row).most_common(1)[0][0]
    paths = [f'<path fill="{COLOUR_CODES[ground]}" d="M0 0h{width}v{height}H0z"/>']
    for colour in sorted({value for row in grid for value in row} - {ground}):
        paths.append(f'<path fill="{COLOUR_CODES[colour]}" d="{"".join(_runs(grid, colour))}"/>')
    lines = "".join(f"M0 {row}h{width}" for row in range(1, height))
    lines += "".join(f"M{column} 0v{height}" for column in range(1, width))
    size = f'width="{width * cell:.0f}" height="{height * cell:.0f}" viewBox="0 0 {width} {height}"'
    words = f"{label}, {height} rows by {width} columns"
    return f'<svg role="img" aria-label="{words}" {size}>{"".join(paths)}<path class="lines" d="{lines}"/></svg>'


def _runs(grid: Cells, colour: int) -> Iterable[str]:
    """A rectangle for every run of equal cells in a row: a third of the bytes that a rectangle a cell would take."""
    for row, cells in enumerate(grid):
        column = 0
        for value, run in groupby(cells):
            length = len(list(run))
            if value == colour:
                yield f"M{column} {row}h{length}v1h-{length}z"
            column += length
