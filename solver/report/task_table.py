"""The table of tasks: one row per task, with the values that the page's script sorts and filters by."""

from collections.abc import Callable, Sequence
from html import escape

from solver.answers.run_json import Run
from solver.report.standing import STATUSES, THRESHOLDS, Standing, mark

COLUMNS = ("Task", "Result", "Outputs solved", "Cells wrong", "Votes", "Top share", "Agreement")
RESULTS: dict[str, tuple[str, Callable[[Standing], bool]]] = {  # filters: name in the script -> label, condition
    "all": ("All", lambda standing: True),
    "solved": ("Solved", lambda standing: standing.status == "solved"),
    "unsolved": ("Unsolved", lambda standing: standing.status not in ("solved", "no truth")),
    "near": ("Near miss", lambda standing: standing.status == "near miss"),
}
VOTES: dict[str, tuple[str, Callable[[Standing], bool]]] = {
    "any": ("Any", lambda standing: True),
    "unanimous": ("Unanimous", lambda standing: standing.unanimous),
    "split": ("Split", lambda standing: standing.split),
}
FAR = 10**6  # the sort value of a wrong size, above any number of wrong cells


def draw_table(tasks: Sequence[tuple[Run, Standing]]) -> str:
    """The table with its filters, which stay hidden without the script."""
    standings = [standing for _, standing in tasks]
    counts = {status: sum(standing.status == status for standing in standings) for status in STATUSES}
    summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "none"
    head = "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
    rows = "\n".join(_row(task, standing, index) for index, (task, standing) in enumerate(tasks))
    return (
        '<section class="card" id="tasks" tabindex="-1" aria-labelledby="tasks-title">'
        f'<h2 id="tasks-title">Tasks</h2><p class="summary">{summary}</p>{_filters(standings)}'
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="tasks-title">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f'<p class="small">{THRESHOLDS}</p></section>'
    )


def _filters(standings: Sequence[Standing]) -> str:
    groups = "".join(
        f"<fieldset><legend>{legend}</legend>{''.join(_choice(name, key, *choices[key], standings) for key in choices)}"
        "</fieldset>"
        for legend, name, choices in (("Result", "result", RESULTS), ("Votes", "votes", VOTES))
    )
    return (
        f'<form id="filters" hidden>{groups}'
        '<label class="search">Task id <input type="search" id="search" autocomplete="off" spellcheck="false"></label>'
        '<button type="button" id="keys" aria-haspopup="dialog">Keys <kbd aria-hidden="true">?</kbd></button>'
        '<p role="status" id="shown"></p></form>'
    )


def _choice(group: str, key: str, words: str, holds: Callable[[Standing], bool], standings: Sequence[Standing]) -> str:
    checked = " checked" if key in ("all", "any") else ""
    count = f'<span class="count">{sum(map(holds, standings))}</span>'
    return f'<label><input type="radio" name="{group}" value="{key}"{checked}><span>{words} {count}</span></label>'


def _row(task: Run, standing: Standing, index: int) -> str:
    """A row: each cell has its sort value, the row the filters that show it."""
    shown = [key for group in (RESULTS, VOTES) for key, (_, holds) in group.items() if holds(standing)]
    agreement = "unanimous" if standing.unanimous else "split" if standing.split else "–"
    share = standing.top_share
    if not standing.outputs:
        wrong = "–"
    elif standing.wrong is None:
        wrong = "other size"
    else:
        wrong = f"{standing.wrong} of {standing.cells}"
    far = standing.wrong if standing.wrong is not None else FAR if standing.outputs else FAR + 1
    solved = f"{standing.solved} of {standing.outputs}" if standing.outputs else "–"
    cells = (
        (list(STATUSES).index(standing.status), mark(STATUSES[standing.status], standing.status)),
        (standing.solved / standing.outputs if standing.outputs else -1, solved),
        (far, wrong),
        (standing.votes, f"{standing.votes:,}"),
        (-1 if share is None else round(share, 4), "–" if share is None else f"{share:.0%}"),
        ({"unanimous": 0, "split": 2}.get(agreement, 1), agreement),
    )
    columns = "".join(f'<td data-value="{value:g}">{text}</td>' for value, text in cells)
    name = f'<th scope="row"><a href="#task-{index}">{escape(task["id"])}</a></th>'
    return f'<tr data-task="task-{index}" data-shown="{" ".join(shown)}">{name}{columns}</tr>'
