"""A small record of a run with everything in it, and a reader of the page that is made of one."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from solver.report.page import write_report
from tests.solver import documents

TRUTH, NEAR, SMALL = [[1, 1, 2], [0, 0, 0]], [[1, 1, 2], [0, 0, 3]], [[5]]
FAR = [[1, 9, 9], [9, 9, 3]]


def candidate(cells: list[list[int]], votes: int) -> dict[str, Any]:
    return {"grid": cells, "votes": votes, "halting": 0.875}


def result(first: list[list[int]], second: list[list[int]], truth: list[list[int]] | None = TRUTH) -> dict[str, Any]:
    candidates = [candidate(first, 70), candidate(second, 20)]
    return {"input": [[4]], "truth": truth, "attempts": [first, second], "votes": 100, "candidates": candidates}


def part(correct: float, total: int) -> dict[str, float]:
    return {"correct": correct, "total": total, "score": correct / total}


TRAIN = [{"input": [[6, 7]], "output": [[8], [9]]}]
STEPS = [
    {"grid": None, "halting": 0.0, "changed": None},
    {"grid": SMALL, "halting": 0.125, "changed": None},
    {"grid": NEAR, "halting": 0.5, "changed": None},
    {"grid": TRUTH, "halting": 0.75, "changed": 1},
    {"grid": TRUTH, "halting": 1, "changed": 0},
]
RUN: dict[str, Any] = {
    "format": 1,
    "source": "arc-agi_test_challenges.json",
    "preset": "small",
    "seconds": {"fit": 12.5, "predict": 3},
    "seed": 7,
    "notes": ["the budget ended the fit after 40 passes"],
    "score": {"test_outputs": part(3, 5), "tasks_mean": part(1.5, 3), "tasks_all": part(1, 3)},
    "baseline": {"test_outputs": part(1, 5), "tasks_mean": part(1, 3), "tasks_all": part(1, 3)},
    "tasks": [
        {"id": "whole", "train": TRAIN, "test": [result(NEAR, TRUTH), result(TRUTH, SMALL)]},
        {"id": "partly", "train": TRAIN, "test": [result(TRUTH, NEAR), result(FAR, SMALL)]},
        {"id": "none", "train": TRAIN, "test": [result(NEAR, SMALL)]},
        {"id": "hidden", "train": TRAIN, "test": [result(NEAR, SMALL, None)]},
    ],
}
"""As runs of before wrote it: no curve, no steps, no weights."""

CURVE = [[10, 0.5, 2.5, 0], [20, 1, 1.25, 0.125], [40, 2.25, 0.25, 0.5]]


def changed(path: tuple[Any, ...], value: object, run: dict[str, Any] = RUN) -> dict[str, Any]:
    """`run` with one place overwritten, or removed where `value` is ..."""
    return documents.changed(path, value, run)


FULL = changed(("tasks", 0, "test", 0, "steps"), STEPS, changed(("curve",), CURVE))
FULL["tasks"][0]["test"][0]["candidates"][0]["weight"] = 35.0
FULL["tasks"][0]["test"][0]["candidates"][1]["weight"] = 15
"""With all that runs record now."""


class Page(HTMLParser):
    """Fails where tags do not nest; collects the elements and the text a reader sees."""

    VOID = frozenset({"meta", "br", "path", "input", "use", "circle", "polyline"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def html_of(run: dict[str, Any], folder: Path) -> str:
    write_report(run, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def section_of(html: str, task: int) -> str:
    """The HTML of a task's section."""
    return html.split(f'id="task-{task}"')[1].split("</section>")[0]
