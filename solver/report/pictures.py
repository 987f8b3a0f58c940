"""Pictures for notebooks: tasks, their variants, predictions and votes, and the failures of a run.

Each function returns a `Drawing`, which Jupyter shows at the end of a cell. Grids look as in reports.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from kernels.symmetry import apply_symmetry
from solver.answers.run_json import Run
from solver.common.checks import InputError, shown
from solver.report.drawing import Cells, draw_grid, scale_of
from solver.report.standing import MARKS, verdict
from solver.tasks.task import Task, permuted_colours, shown_colours
from solver.tokens.variants import make_variants, variant_name

# Only grid lines have a style sheet, limited to our class: others would change the notebook's own styles.
LINES = "<style>.arc-trm .lines{fill:none;stroke:#6668;stroke-width:1px;vector-effect:non-scaling-stroke}</style>"
ROW = "display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-end;margin:.5rem 0 1rem"
_Picture = tuple[Cells, str]  # a grid and its caption
FAILURES = ("task", "test", "attempt 1", "attempt 2", "votes", "the truth among the candidates")


@dataclass(frozen=True)
class Drawing:
    """HTML for a notebook, without network or scripts."""

    html: str

    def _repr_html_(self) -> str:
        return f'<div class="arc-trm">{LINES}{self.html}</div>'


def draw_task(task: Task) -> Drawing:
    """The demonstrations and test inputs of a task, and the known test outputs."""
    rows = {
        name: [
            (grid.tolist(), f"{number}: {kind}")
            for number, pair in enumerate(pairs, start=1)
            for kind, grid in (("input", pair.input), ("output", pair.output))
            if grid is not None
        ]
        for name, pairs in (("demonstrations", task.train), ("test", task.test))
    }
    return _drawing(task.id, rows)


def draw_variants(task: Task, count: int = 8, seed: int = 0) -> Drawing:
    """The first demonstration in the first `count` variants that `tiny` and `mini` fit and vote with, of this seed."""
    permuted, shown = permuted_colours(task.train, "inputs"), shown_colours(task.train)
    variants, rows = make_variants(task.id, count, seed, permuted=permuted, shown=shown), {}
    for symmetry, permutation in zip(variants.symmetry.tolist(), variants.permutation, strict=True):
        rows[variant_name(task.id, symmetry, permutation)] = [
            (permutation[apply_symmetry(grid, symmetry)].tolist(), name)
            for name, grid in (("input", task.train[0].input), ("output", task.train[0].output))
            if grid is not None
        ]
    return _drawing(f"{task.id}, {len(variants)} variants", rows)


def draw_votes(run: Run, task_id: str, candidates: int = 6) -> Drawing:
    """Test inputs, truths, attempts and first candidates of a task, with votes. InputError if `run` lacks the task."""
    task = next((task for task in run["tasks"] if task["id"] == task_id), None)
    if task is None:
        raise InputError(f"run: expected one of its {len(run['tasks'])} tasks, got {shown(task_id)}")
    rows = {}
    for number, test in enumerate(task["test"], start=1):
        truth = test.get("truth")
        attempts = [(grid, f"attempt {place}") for place, grid in enumerate(test["attempts"], start=1)]
        voted = [(c["grid"], f"{c['votes']} of {test['votes']} votes") for c in test["candidates"][:candidates]]
        known = [(test["input"], "input"), *([(truth, "truth")] if truth is not None else [])]
        judged = [(grid, f"{words}, {_words(grid, truth)}") for grid, words in attempts + voted]
        rows[f"test {number}"] = known + judged
    return _drawing(task_id, rows)


def failing_tasks(run: Run) -> list[str]:
    """The ids of the tasks with a known test output that both attempts miss, in the order of the record."""
    return list(dict.fromkeys(task_id for task_id, _, _ in _failures(run)))


def draw_failures(run: Run) -> Drawing:
    """A table of the known test outputs that both attempts miss: how far off, and whether the truth has votes."""
    rows = [FAILURES]
    for task_id, number, test in _failures(run):
        grids = [candidate["grid"] for candidate in test["candidates"]]
        place = f"place {grids.index(test['truth']) + 1} of {len(grids)}" if test["truth"] in grids else "no"
        attempts = [_words(attempt, test["truth"]) for attempt in test["attempts"]]
        rows.append((task_id, str(number), attempts[0], attempts[1], str(test["votes"]), place))
    known = sum(test.get("truth") is not None for task in run["tasks"] for test in task["test"])
    table = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return Drawing(f"<p>{len(rows) - 1} of {known} known test outputs are missed.</p><table>{table}</table>")


def _failures(run: Run) -> Iterable[tuple[str, int, Run]]:
    for task in run["tasks"]:
        for number, test in enumerate(task["test"], start=1):
            if test.get("truth") is not None and test["truth"] not in test["attempts"]:
                yield task["id"], number, test


def _words(grid: Cells, truth: Cells | None) -> str:
    mark, words = verdict(grid, truth)
    return f"{MARKS[mark]} {words}"


def _drawing(title: str, rows: Mapping[str, Sequence[_Picture]]) -> Drawing:
    """Rows of pictures under a title, all to one scale."""
    cell = scale_of(grid for pictures in rows.values() for grid, _ in pictures)
    parts = [f"<h4>{escape(title)}</h4>"]
    for name, pictures in rows.items():
        figures = "".join(
            f'<figure style="margin:0">{draw_grid(grid, f"{name}, {caption}", cell)}'
            f'<figcaption style="font-size:.8em">{escape(caption)}</figcaption></figure>'
            for grid, caption in pictures
        )
        parts.append(f'<div>{escape(name)}</div><div style="{ROW}">{figures}</div>')
    return Drawing("".join(parts))
