"""The report shows what happened, in one well-formed file that asks the network for nothing."""

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.errors import InputError
from solver.report import COLOUR_CODES, read_run, write_report

TRUTH, NEAR, SMALL = [[1, 1, 2], [0, 0, 0]], [[1, 1, 2], [0, 0, 3]], [[5]]


def candidate(cells: list[list[int]], votes: int) -> dict[str, Any]:
    return {"grid": cells, "votes": votes, "halting": 0.875}


def result(first: list[list[int]], second: list[list[int]], truth: list[list[int]] | None = TRUTH) -> dict[str, Any]:
    candidates = [candidate(first, 70), candidate(second, 20)]
    return {"input": [[4]], "truth": truth, "attempts": [first, second], "votes": 100, "candidates": candidates}


def part(correct: float, total: int) -> dict[str, float]:
    return {"correct": correct, "total": total, "score": correct / total}


TRAIN = [{"input": [[6, 7]], "output": [[8], [9]]}]
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
        {"id": "partly", "train": TRAIN, "test": [result(TRUTH, NEAR), result(NEAR, SMALL)]},
        {"id": "none", "train": TRAIN, "test": [result(NEAR, SMALL)]},
        {"id": "hidden", "train": TRAIN, "test": [result(NEAR, SMALL, None)]},
    ],
}


def changed(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    """RUN with one place overwritten, or removed where `value` is ..."""
    document = copy.deepcopy(RUN)
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


class Page(HTMLParser):
    """Fails where tags do not nest; collects the elements and the text a reader sees."""

    VOID = frozenset({"meta", "br", "path"})

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
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def html_of(run: dict[str, Any], folder: Path) -> str:
    write_report(run, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_header_names_the_score_and_the_baseline(tmp_path: Path) -> None:
    text = Page(html_of(RUN, tmp_path)).text
    assert "60.0% Kaggle's score: share of test outputs 3 of 5 · baseline 20.0%" in text
    assert "50.0% Mean over tasks of each task's share 1.5 of 3 · baseline 33.3%" in text
    assert "33.3% Share of tasks with all outputs right 1 of 3" in text
    for fact in ("source arc-agi_test_challenges.json", "preset small", "seed 7", "fit time 12.5 s", "tasks 4"):
        assert fact in text
    assert "the budget ended the fit after 40 passes" in text


def test_score_and_baseline_may_be_unknown(tmp_path: Path) -> None:
    assert "baseline" not in Page(html_of(changed(("baseline",), None), tmp_path)).text
    text = Page(html_of(changed(("score",), None), tmp_path)).text
    assert "Not scored" in text
    assert "Kaggle's score" not in text


def test_the_contents_link_to_every_task_and_mark_it_in_words(tmp_path: Path) -> None:
    page = Page(html_of(RUN, tmp_path))
    targets = {attributes["id"] for attributes in page.all("section")}
    links = [attributes["href"] for attributes in page.all("a")]
    assert len(links) == len(targets) == 4
    assert {str(link).removeprefix("#") for link in links} == targets
    assert "1 solved, 1 partly solved, 1 unsolved, 1 without truth" in page.text
    for words in ("whole ✓ solved", "partly ◐ 1 of 2", "none ✗ unsolved", "hidden ? no truth"):
        assert page.text.count(words) == 2, "in the contents and over the task"


def test_every_grid_is_a_picture_with_words(tmp_path: Path) -> None:
    page = Page(html_of(changed(("tasks",), RUN["tasks"][:1]), tmp_path))
    pictures = page.all("svg")
    assert all(picture["role"] == "img" for picture in pictures)
    labels = [picture["aria-label"] for picture in pictures]
    assert labels[:6] == [
        "demonstration 1, input, 1 rows by 2 columns",
        "demonstration 1, output, 2 rows by 1 columns",
        "test 1, input, 1 rows by 1 columns",
        "test 1, truth, 2 rows by 3 columns",
        "test 1, attempt 1, 2 rows by 3 columns",
        "test 1, attempt 2, 2 rows by 3 columns",
    ]
    assert labels[6:8] == [f"test 1, candidate {n}, 2 rows by 3 columns" for n in (1, 2)]
    assert len(labels) == 2 + 2 * (2 + 2 + 2)


def test_attempts_are_called_right_or_wrong_and_how(tmp_path: Path) -> None:
    text = Page(html_of(changed(("tasks",), RUN["tasks"][:1]), tmp_path)).text
    assert "attempt 1 ✗ wrong: 1 of 6 cells attempt 2 ✓ right" in text
    assert "attempt 1 ✓ right attempt 2 ✗ wrong: 1×1, not 2×3" in text
    assert "70 of 100 votes mean halting 0.875" in text
    hidden = Page(html_of(changed(("tasks",), RUN["tasks"][3:]), tmp_path)).text
    assert "attempt 1 ? no truth" in hidden
    assert "right" not in hidden.split("hidden ? no truth")[-1]


def test_only_the_top_candidates_are_drawn(tmp_path: Path) -> None:
    many = [candidate([[n % 10]], 100 - n) for n in range(30)]
    text = Page(html_of(changed(("tasks", 0, "test", 0, "candidates"), many), tmp_path)).text
    assert "Candidates: 8 of 30, 100 votes in total" in text
    assert "93 of 100 votes" in text
    assert "92 of 100 votes" not in text
    none = changed(("tasks",), [RUN["tasks"][0] | {"test": [result(TRUTH, NEAR) | {"candidates": [], "votes": 0}]}])
    assert "Candidates" not in Page(html_of(none, tmp_path)).text


def cells_of(picture: str) -> list[list[str]]:
    """The colours that an <svg> shows, painted in the order of its paths."""
    size = re.search(r'viewBox="0 0 (\d+) (\d+)"', picture)
    assert size
    width, height = map(int, size.groups())
    cells = [[""] * width for _ in range(height)]
    for colour, path in re.findall(r'fill="(#\w+)" d="([^"]*)"', picture):
        path = path.replace("H0z", f"h-{width}z")
        rectangles = re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-(\d+)z", path)
        assert "".join("M{} {}h{}v{}h-{}z".format(*numbers) for numbers in rectangles) == path
        for column, row, length, rows, back in (map(int, numbers) for numbers in rectangles):
            assert length == back
            for r in range(row, row + rows):
                cells[r][column : column + length] = [colour] * length
    return cells


@settings(max_examples=40, deadline=None)
@given(
    cells=st.tuples(st.integers(1, 30), st.integers(1, 30)).flatmap(
        lambda size: st.lists(
            st.lists(st.integers(0, 9), min_size=size[1], max_size=size[1]), min_size=size[0], max_size=size[0]
        )
    )
)
def test_the_picture_shows_the_grid(cells: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    run = changed(("tasks",), [{"id": "a", "train": [], "test": [result(SMALL, SMALL, SMALL) | {"input": cells}]}])
    picture = html_of(run, tmp_path_factory.getbasetemp()).split("<svg")[1].split("</svg>")[0]
    assert cells_of(picture) == [[COLOUR_CODES[cell] for cell in row] for row in cells]


def test_equal_cells_of_a_row_are_one_rectangle(tmp_path: Path) -> None:
    run = changed(("tasks", 0, "train", 0, "input"), [[0, 0, 0, 0, 0, 3, 3, 3]])
    assert 'fill="#2ECC40" d="M5 0h3v1h-3z"' in html_of(run, tmp_path)


def test_the_file_is_self_contained_and_fits_a_phone_and_the_dark(tmp_path: Path) -> None:
    html = html_of(RUN, tmp_path)
    page = Page(html)
    assert html.startswith("<!doctype html>\n<html lang=")
    assert not re.search(r"https?:|//\w|@import|url\(|<script|<link|<img|src=", html)
    assert {"charset": "utf-8"} in page.all("meta")
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert any("default-src 'none'" in str(meta.get("content")) for meta in page.all("meta"))
    assert "@media (prefers-color-scheme: dark)" in html
    assert "@media (max-width:" in html


NASTY = "</style><script>alert(1)</script>&<b>\"'{source}%s\x00\ud800"


@pytest.mark.parametrize("place", [("source",), ("preset",), ("notes", 0), ("tasks", 0, "id"), ("seconds",)])
def test_all_text_is_escaped(place: tuple[Any, ...], tmp_path: Path) -> None:
    html = html_of(changed(place, {NASTY: 1.0} if place == ("seconds",) else NASTY), tmp_path)
    page = Page(html)
    assert "<script" not in html
    assert "<b>\"'{source}%s" in page.text, "shown as it is"
    assert len(page.all("style")) == 1
    assert page.all("script") == []


def test_a_run_is_read_from_its_file_or_its_folder(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    assert read_run(tmp_path / "run.json") == RUN
    assert read_run(str(tmp_path)) == RUN


CANDIDATE = ("tasks", 0, "test", 0, "candidates", 0)
BAD_RUNS = {
    "no object": ([], ["an object", "got []"]),
    "another file": ({"a": [{"attempt_1": [[1]]}]}, ["a run.json", "attempt_1"]),
    "format": (changed(("format",), 2), ["format", "expected 1", "got 2"]),
    "source": (changed(("source",), 3), ["'source'", "a string", "got 3"]),
    "seed": (changed(("seed",), 1.5), ["'seed'", "a whole number", "got 1.5"]),
    "seconds": (changed(("seconds", "fit"), "long"), ["seconds: 'fit'", "a number", "'long'"]),
    "negative": (changed(("seconds", "fit"), -1.0), ["seconds: 'fit'", "0 or more"]),
    "note": (changed(("notes", 0), 3), ["notes[0]", "got 3"]),
    "score": (changed(("score", "tasks_mean"), ...), ["score: 'tasks_mean'", "got none"]),
    "score total": (changed(("score", "tasks_all", "total"), True), ["score.tasks_all: 'total'", "got True"]),
    "baseline": (changed(("baseline",), 0.5), ["'baseline'", "got 0.5"]),
    "no tasks": (changed(("tasks",), ...), ["'tasks'", "got none"]),
    "task": (changed(("tasks", 1), 5), ["tasks[1]", "got 5"]),
    "id": (changed(("tasks", 1, "id"), None), ["tasks[1]: 'id'", "got None"]),
    "train": (changed(("tasks", 0, "train", 0, "input"), [[10]]), ["tasks[0] 'whole': train[0].input[0][0]", "10"]),
    "truth": (changed(("tasks", 0, "test", 1, "truth"), [[]]), ["'whole': test[1].truth[0]", "got 0 cells"]),
    "one attempt": (changed(("tasks", 0, "test", 0, "attempts"), [[[1]]]), ["test[0].attempts", "2 grids", "got 1"]),
    "attempt": (changed(("tasks", 0, "test", 0, "attempts", 1), "x"), ["test[0].attempts[1]", "got 'x'"]),
    "candidate": (changed((*CANDIDATE, "grid"), [[0.5]]), ["candidates[0].grid[0][0]", "got 0.5"]),
    "votes": (changed((*CANDIDATE, "votes"), 10**30), ["candidates[0]: 'votes'", "a whole number"]),
    "halting": (changed((*CANDIDATE, "halting"), 1.01), ["candidates[0].halting", "0..1", "got 1.01"]),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_a_bad_record_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    document, words = BAD_RUNS[name]
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        read_run(tmp_path)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    assert all(word in message for word in ["expected", "got", *words]), message
    if isinstance(document, dict):
        with pytest.raises(InputError):
            write_report(document, tmp_path / "report.html")
        assert not (tmp_path / "report.html").exists()


def test_missing_and_infinite_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json: expected a file"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(RUN).replace("12.5", "1e999"))
    with pytest.raises(InputError, match="seconds: 'fit': expected a number"):
        read_run(tmp_path)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "grid", "input"]), inner, max_size=3)
    ),
    max_leaves=10,
)
places = st.sampled_from([(key,) for key in RUN] + [("tasks", 0), ("tasks", 0, "test"), CANDIDATE, ("seconds", "fit")])


@settings(max_examples=100, deadline=None)
@given(place=places, value=values)
def test_any_record_is_drawn_or_refused(
    place: tuple[Any, ...], value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    try:
        html = html_of(changed(place, value), tmp_path_factory.getbasetemp())
    except InputError as error:
        assert str(error).isprintable()  # noqa: PT017 (either outcome is right)
    else:
        Page(html)
