"""The report shows what happened, in one well-formed file that asks the network for nothing."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from solver.answers.outcome import LEAK_WARNING
from solver.answers.run_json import read_run
from tests.solver.report.report_samples import (
    FULL,
    NEAR,
    RUN,
    SMALL,
    STEPS,
    TRUTH,
    Page,
    candidate,
    changed,
    html_of,
    result,
    section_of,
)


def words_of(html: str) -> str:
    """What a reader sees of a piece of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


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


def test_a_leak_is_no_note_among_others(tmp_path: Path) -> None:
    assert f'<p class="warning">⚠ {LEAK_WARNING}</p>' in html_of(changed(("notes",), [LEAK_WARNING]), tmp_path)
    assert 'class="warning"' not in html_of(RUN, tmp_path)


def test_the_table_links_to_every_task_and_says_how_it_stands(tmp_path: Path) -> None:
    html = html_of(RUN, tmp_path)
    page = Page(html)
    rows = [attributes["data-task"] for attributes in page.all("tr") if "data-task" in attributes]
    links = [attributes["href"] for attributes in page.all("a") if "task-" in str(attributes["href"])]
    sections = [attributes["id"] for attributes in page.all("section") if attributes["class"] == "card task"]
    assert rows == sections == [f"task-{index}" for index in range(4)]
    assert links == [f"#{row}" for row in rows]
    assert "1 solved, 1 near miss, 1 partly solved, 1 no truth" in page.text
    table = words_of(html.split("<tbody>")[1].split("</tbody>")[0])
    assert table == (
        "whole ✓ solved 2 of 2 0 of 12 200 70% – partly ◐ partly solved 1 of 2 5 of 12 200 70% – "
        "none ≈ near miss 0 of 1 1 of 6 100 70% – hidden ? no truth – – 100 70% –"
    )
    assert "at most 10% of its cells wrong" in page.text, "the page states the thresholds"


def test_every_grid_is_a_picture_with_words(tmp_path: Path) -> None:
    page = Page(html_of(changed(("tasks",), RUN["tasks"][:1]), tmp_path))
    pictures = [picture for picture in page.all("svg") if picture.get("aria-hidden") != "true"]
    assert all(picture["role"] == "img" for picture in pictures)
    labels = [picture["aria-label"] for picture in pictures]
    assert labels[:9] == [
        "demonstration 1, input, 1 rows by 2 columns",
        "demonstration 1, output, 2 rows by 1 columns",
        "test 1, input, 1 rows by 1 columns",
        "test 1, truth, 2 rows by 3 columns",
        "test 1, attempt 1, 2 rows by 3 columns",
        "test 1, attempt 1, difference from the truth: wrong in row 2 column 3, 2 rows by 3 columns",
        "test 1, attempt 2, 2 rows by 3 columns",
        "test 1, candidate 1, 2 rows by 3 columns",
        "test 1, candidate 2, 2 rows by 3 columns",
    ]
    assert len(labels) == 2 + (2 + 3 + 2) + (2 + 2 + 2), "no difference of a right attempt, nor of one of another size"


def test_attempts_are_called_right_or_wrong_and_how(tmp_path: Path) -> None:
    html = html_of(FULL, tmp_path)
    text = words_of(section_of(html, 0))
    assert "attempt 1 ✗ wrong: 1 of 6 cells difference attempt 2 ✓ right" in text
    assert "attempt 1 ✓ right attempt 2 ✗ wrong: 1×1, not 2×3" in text
    assert "1. ✗ wrong: 1 of 6 cells 70 of 100 votes weight 35 mean halting 0.875" in text
    assert "--share:70%" in section_of(html, 0), "a bar of the votes …"
    assert 'weight" style="--share:30%' in section_of(html, 0), "… and one of the weight"
    assert "weight" not in section_of(html, 1), "where the record has none"
    hidden = words_of(section_of(html, 3))
    assert "attempt 1 ? no truth" in hidden
    assert "right" not in hidden.split("Test 1")[-1]


def test_only_the_top_candidates_are_drawn(tmp_path: Path) -> None:
    many = [candidate([[n % 10]], 100 - n) for n in range(30)]
    text = Page(html_of(changed(("tasks", 0, "test", 0, "candidates"), many), tmp_path)).text
    assert "The 8 candidates with the most votes, of 100 votes" in text
    assert "93 of 100 votes" in text
    assert "92 of 100 votes" not in text
    none = changed(("tasks",), [RUN["tasks"][0] | {"test": [result(TRUTH, NEAR) | {"candidates": [], "votes": 0}]}])
    unvoted = Page(html_of(none, tmp_path)).text
    assert "candidates with the most votes" not in unvoted
    assert "No votes: both attempts are fallbacks." in unvoted
    assert "fallbacks" not in text


def test_the_answer_over_supervision_steps_is_told_in_words_too(tmp_path: Path) -> None:
    text = words_of(section_of(html_of(FULL, tmp_path), 0))
    assert "Answer over supervision steps: stays from step 4 of 5 on, right" in text
    for words in (
        "no grid step 1 first answer halting 0%",
        "step 2 first grid halting 12%",
        "step 3 another size halting 50%",
        "step 4 1 cell changed ✓ right halting 75%",
        "step 5 unchanged ✓ right halting 100%",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("places", "truth", "words"),
    [
        ([3, 2], TRUTH, "changes until step 2, wrong, though it was right"),
        ([1, 1], TRUTH, "stays from step 1 of 2 on, wrong"),
        ([1, 2, 2], None, "stays from step 2 of 3 on"),
        ([0], TRUTH, "changes until step 1, wrong"),
    ],
)
def test_where_the_answer_settles(places: list[int], truth: Any, words: str, tmp_path: Path) -> None:
    test = result(NEAR, SMALL, truth) | {"steps": [STEPS[place] for place in places]}
    html = html_of(changed(("tasks", 0, "test"), [test]), tmp_path)
    assert f"<summary>Answer over supervision steps: {words}</summary>" in html


def test_a_record_without_curve_and_steps_says_nothing_of_them(tmp_path: Path) -> None:
    empty = changed(("curve",), [])
    empty["tasks"][0]["test"][0]["steps"] = []
    for run in (RUN, empty):
        text = Page(html_of(run, tmp_path)).text
        assert "Training curve" not in text
        assert "supervision" not in text


def test_the_training_curve_has_axes_and_the_same_in_words(tmp_path: Path) -> None:
    html = html_of(FULL, tmp_path)
    page = Page(html)
    labels = [picture["aria-label"] for picture in page.all("svg") if picture.get("class") == "chart"]
    assert labels == [
        "Loss over fitting steps: 2.5 at step 10, 1.25 at step 20, 0.25 at step 40; lowest 0.25, highest 2.5",
        "Exact rate, percent over fitting steps: 0 at step 10, 12.5 at step 20, 50 at step 40; lowest 0, highest 50",
    ]
    assert "40 steps in 2.2s. The loss went from 2.5 to 0.25; at the end, 50.0% of the sequences" in page.text
    assert page.text.count("fitting steps") == 2
    assert "0 10 20 30 40 fitting steps" in page.text, "ticks"


@pytest.mark.parametrize("curve", [[], [[0, 0, 0.0, 0]], [[0, 0, 0, 0], [1, 0, 0, 1]], [[5, 1, 1e19, 1], [6, 1, 0, 1]]])
def test_any_curve_is_drawn(curve: list[Any], tmp_path: Path) -> None:
    assert ("Training curve" in Page(html_of(changed(("curve",), curve), tmp_path)).text) == (len(curve) > 1)


@pytest.mark.slow
def test_a_curve_of_any_length_stays_small(tmp_path: Path) -> None:
    long = [[step, step, 1.0, 0.5] for step in range(100_000)]
    points = html_of(changed(("curve",), long), tmp_path).split('points="')[1].split('"')[0].split()
    assert 200 < len(points) <= 401
    assert points[-1].startswith("350"), "the last reading is among them"


def test_the_file_is_self_contained_and_fits_a_phone_and_the_dark(tmp_path: Path) -> None:
    html = html_of(FULL, tmp_path)
    page = Page(html)
    assert html.startswith("<!doctype html>\n<html lang=")
    assert not re.search(r"https?:|//\w|@import|url\(|<link|<img|src=", html)
    assert {"charset": "utf-8"} in page.all("meta")
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    policy = next(str(meta["content"]) for meta in page.all("meta") if "http-equiv" in meta)
    assert re.fullmatch(
        r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/]{43}='; "
        "base-uri 'none'; form-action 'none'",
        policy,
    )
    assert "@media (prefers-color-scheme: dark)" in html
    assert "@media (max-width:" in html


NASTY = "</style></script><script>alert(1)</script>&<b>\"'$title{source}%s\x00\ud800"


@pytest.mark.parametrize("place", [("source",), ("preset",), ("notes", 0), ("tasks", 0, "id"), ("seconds",)])
def test_all_text_is_escaped(place: tuple[Any, ...], tmp_path: Path) -> None:
    html = html_of(changed(place, {NASTY: 1.0} if place == ("seconds",) else NASTY, FULL), tmp_path)
    page = Page(html)
    assert "alert(1)</script>" not in html
    assert "<b>\"'$title{source}%s" in page.text, "shown as it is"
    assert len(page.all("style")) == len(page.all("script")) == 1


def test_headings_are_in_order_and_ids_are_there_once(tmp_path: Path) -> None:
    page = Page(html_of(FULL, tmp_path))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [str(attributes["id"]) for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {str(attributes["href"])[1:] for _, attributes in page.elements if "href" in attributes}
    used |= {str(a["aria-labelledby"]) for _, a in page.elements if "aria-labelledby" in a}
    assert used <= set(ids)


@pytest.mark.slow
def test_a_report_of_400_tasks_is_no_monster(tmp_path: Path) -> None:
    grid = [[(row // 4 + column // 3) % 10 for column in range(20)] for row in range(20)]
    others = [[row[:] for row in grid] for _ in range(8)]
    for number, other in enumerate(others):
        for spot in range(number):
            other[spot * 2][spot + number] = 9 - number
    steps = [{"grid": others[max(0, 7 - step)], "halting": 0.5, "changed": 1} for step in range(16)]
    test = result(others[1], others[2], grid) | {"candidates": [candidate(o, 10) for o in others], "steps": steps}
    train = [{"input": grid, "output": other} for other in others[3:6]]
    run = changed(("tasks",), [{"id": f"{number:08x}", "train": train, "test": [test]} for number in range(400)])
    for task in run["tasks"]:  # no two tasks have a grid in common
        task["test"] = json.loads(json.dumps(task["test"]))
        task["test"][0]["truth"][-1][:3] = divmod(int(task["id"], 16), 100)[0], *divmod(int(task["id"], 16) % 100, 10)
    assert len(html_of(run, tmp_path)) < 10e6


def test_a_run_is_read_from_its_file_or_its_folder(tmp_path: Path) -> None:
    for run in (RUN, FULL):
        (tmp_path / "run.json").write_text(json.dumps(run))
        assert read_run(tmp_path / "run.json") == run
        assert read_run(str(tmp_path)) == run
