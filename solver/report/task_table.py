"""The table of tasks: one row per task, with the values that the page's script sorts and filters by."""

from collections.abc import Callable, Sequence
from html import escape

from solver.answers.run_json import Run
from solver.report.standing import STATUSES, THRESHOLDS, Standing, mark

COLUMNS = ("Task", "Result", "Outputs solved", "Cells wrong", "Votes", "Top share", "Agreement")
FILTERS: tuple[tuple[str, str, str, Callable[[Standing], bool]], ...] = (  # group, name in the script, label, condition
    ("result", "all", "All", lambda standing: True),
    ("result", "solved", "Solved", lambda standing: standing.status == "solved"),
    ("result", "unsolved", "Unsolved", lambda standing: standing.status not in ("solved", "no truth")),
    ("result", "near", "Near miss", lambda standing: standing.status == "near miss"),
    ("votes", "any", "Any", lambda standing: True),
    ("votes", "unanimous", "Unanimous", lambda standing: standing.unanimous),
    ("votes", "split", "Split", lambda standing: standing.split),
)
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
    groups = dict.fromkeys(("result", "votes"), "")
    for group, key, words, holds in FILTERS:
        checked = " checked" if key in ("all", "any") else ""
        choice = f'<input type="radio" name="{group}" value="{key}"{checked}>'
        count = f'<span class="count">{sum(map(holds, standings))}</span>'
        groups[group] += f"<label>{choice}<span>{words} {count}</span></label>"
    fields = [f"<fieldset><legend>{name.title()}</legend>{choices}</fieldset>" for name, choices in groups.items()]
    return (
        f'<form id="filters" hidden>{"".join(fields)}'
        '<label class="search">Task id <input type="search" id="search" autocomplete="off" spellcheck="false"></label>'
        '<button type="button" id="keys" aria-haspopup="dialog">Keys <kbd aria-hidden="true">?</kbd></button>'
        '<p role="status" id="shown"></p></form>'
    )


def _row(task: Run, standing: Standing, index: int) -> str:
    """A row: each cell has its sort value, the row the filters that show it."""
    shown = [key for _, key, _, holds in FILTERS if holds(standing)]
    agreement = "unanimous" if standing.unanimous else "split" if standing.split else "–"
    share = standing.top_share
    far, wrong = (FAR, "other size") if standing.outputs else (FAR + 1, "–")
    if standing.wrong is not None:
        far, wrong = standing.wrong, f"{standing.wrong} of {standing.cells}"
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
