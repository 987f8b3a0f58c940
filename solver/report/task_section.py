"""The section of a task: demonstrations, and for each test its truth, attempts, candidates and supervision steps."""

from collections.abc import Sequence
from html import escape

from solver.answers.run_json import Run
from solver.report.drawing import Album, Cells, changed_cells, scale_of
from solver.report.standing import STATUSES, Standing, mark, verdict

TOP_CANDIDATES = 8
MOST_STEPS = 64  # supervision steps shown
NAMED_CELLS = 4  # wrong cells named in the label of a picture


def draw_task_section(task: Run, standing: Standing, index: int, album: Album) -> str:
    """The section of a task, with the element id `task-{index}`."""
    grids = [grid for pair in task["train"] for grid in (pair["input"], pair["output"])]
    for test in task["test"]:
        grids += filter(None, [test["input"], *test["attempts"], test.get("truth")])
    cell = scale_of(grids)
    pairs = "".join(
        f'<div class="pair">{album.draw(pair["input"], f"demonstration {number}, input", cell)}'
        f'<span aria-hidden="true">→</span>{album.draw(pair["output"], f"demonstration {number}, output", cell)}</div>'
        for number, pair in enumerate(task["train"], start=1)
    )
    tests = "".join(_test(test, number, cell, album) for number, test in enumerate(task["test"], start=1))
    words = standing.status
    if 0 < standing.solved < standing.outputs:
        words += f": {standing.solved} of {standing.outputs} outputs solved"
    marks = mark(STATUSES[standing.status], words)
    votes = "unanimous" if standing.unanimous else "split" if standing.split else ""
    marks += f' <span class="mark plain">{votes}</span>' if votes else ""
    return (
        f'<section class="card task" id="task-{index}" tabindex="-1" aria-labelledby="title-{index}">'
        f'<h2 id="title-{index}">{escape(task["id"])} {marks}</h2>'
        f'<h3>Demonstrations</h3><div class="row">{pairs}</div>{tests}</section>'
    )


def _test(test: Run, number: int, cell: float, album: Album) -> str:
    name, truth = f"test {number}", test.get("truth")
    figures = [_figure(album.draw(test["input"], f"{name}, input", cell), "input")]
    if truth is not None:
        figures.append(_figure(album.draw(truth, f"{name}, truth", cell), "truth"))
    for index, attempt in enumerate(test["attempts"], start=1):
        like = test["input"] if truth is None else truth
        picture = album.draw(attempt, f"{name}, attempt {index}", cell, like)
        figures.append(_figure(picture, f"attempt {index}", mark(*verdict(attempt, truth))))
        if truth is not None and (wrong := changed_cells(attempt, truth)):
            places = [f"row {row + 1} column {column + 1}" for row, column in wrong]
            more = f" and {len(places) - NAMED_CELLS} more" if len(places) > NAMED_CELLS else ""
            words = f"difference from the truth: wrong in {', '.join(places[:NAMED_CELLS])}{more}"
            picture = album.draw_difference(attempt, truth, f"{name}, attempt {index}, {words}", cell)
            figures.append(_figure(picture, "difference"))
    row = f'<div class="row">{"".join(figures)}</div>'
    return f"<h3>Test {number}</h3>{row}{_candidates(test, name, cell, album)}{_steps(test, name, cell, album)}"


def _candidates(test: Run, name: str, cell: float, album: Album) -> str:
    """The first candidates of the record, with bars for their shares of all votes and of all weight."""
    candidates, total, truth = test["candidates"], test["votes"], test.get("truth")
    weights = sum(candidate.get("weight", 0.0) for candidate in candidates)
    figures = []
    for index, candidate in enumerate(candidates[:TOP_CANDIDATES], start=1):
        words = [f"{index}. {'' if truth is None else mark(*verdict(candidate['grid'], truth))}"]
        words.append(f"{candidate['votes']} of {total} votes{_bar(candidate['votes'], total)}")
        if weights and "weight" in candidate:
            words.append(f"weight {candidate['weight']:.4g}{_bar(candidate['weight'], weights, ' weight')}")
        words.append(f"mean halting {candidate['halting']:.3f}")
        like = candidates[0]["grid"] if truth is None else truth
        picture = album.draw(candidate["grid"], f"{name}, candidate {index}", cell * 0.6, like)
        figures.append(_figure(picture, *words))
    if not figures:
        return "<p>No votes: both attempts are fallbacks.</p>"
    summary = f"The {len(figures)} candidates with the most votes, of {total} votes"
    return f'<details open><summary>{summary}</summary><div class="row">{"".join(figures)}</div></details>'


def _steps(test: Run, name: str, cell: float, album: Album) -> str:
    """The answers after each supervision step; empty if the record has none."""
    steps, truth = test.get("steps", [])[:MOST_STEPS], test.get("truth")
    if not steps:
        return ""
    items, like = [], truth
    for number, (step, before) in enumerate(zip(steps, [None, *steps[:-1]], strict=True), start=1):
        words = [f"<b>step {number}</b>", _change(step, before)]
        if step["grid"] is None:
            picture = '<div class="none">no grid</div>'
        else:
            picture = album.draw(step["grid"], f"{name}, answer after step {number}", cell * 0.5, like)
            like = step["grid"]
            words += [mark("right", "right")] if step["grid"] == truth else []
        words.append(f"halting {step['halting']:.0%}{_bar(step['halting'], 1.0)}")
        items.append(f"<li>{_figure(picture, *words)}</li>")
    return (
        f"<details open><summary>Answer over supervision steps: {_settling(steps, truth)}</summary>"
        f'<ol class="row steps">{"".join(items)}</ol></details>'
    )


def _change(step: Run, before: Run | None) -> str:
    """What a supervision step changed, in words."""
    if before is None:
        return "first answer"
    if step["changed"] is None:
        return "no grid" if step["grid"] is None else "another size" if before["grid"] is not None else "first grid"
    return f"{step['changed']} cell{'s' * (step['changed'] > 1)} changed" if step["changed"] else "unchanged"


def _settling(steps: Sequence[Run], truth: Cells | None) -> str:
    """From which step on the answer stays the same, and whether it is right."""
    grids = [step["grid"] for step in steps]
    last = next((number for number in range(len(grids), 1, -1) if grids[number - 2] != grids[-1]), 1)
    words = f"stays from step {last} of {len(grids)} on" if last < len(grids) else f"changes until step {last}"
    if truth is None or grids[-1] == truth:
        return words if truth is None else f"{words}, right"
    return f"{words}, wrong{', though it was right' if truth in grids else ''}"


def _bar(part: float, whole: float, kind: str = "") -> str:
    share = min(part / whole, 1.0) if whole else 0.0
    return f'<i class="bar{kind}" style="--share:{share:.0%}"></i>'


def _figure(picture: str, *lines: str) -> str:
    caption = "<br>".join(lines).replace("</i><br>", "</i>")  # a bar ends its line
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"
