"""The report in headless Chromium: it asks for nothing, has no fault, sorts, filters, goes by keys, fits a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from solver.report.page import write_report
from tests.solver.report.chromium import NAMES, Chromium, find_chromium
from tests.solver.report.report_samples import FAR, FULL, NEAR, SMALL, TRUTH, changed, result

pytestmark = pytest.mark.browser

HOSTILE = '</script><script>document.title="harmed"</script><img src=x onerror=alert(1)>'
TASKS = {  # id: attempts and votes of the first candidate, of 100; what the filters make of it
    "whole": (TRUTH, SMALL, 95),  # solved, unanimous
    "partly": (FAR, SMALL, 60),  # unsolved
    "near10": (NEAR, SMALL, 40),  # near miss, split
    "near9": (FAR, NEAR, 92),  # near miss, unanimous
    HOSTILE: (SMALL, FAR, 30),  # unsolved, split
}
SHOWN = (
    "[...document.querySelectorAll('#tasks tbody tr')].filter(r => r.checkVisibility()).map(r => r.cells[0].innerText)"
)
SECTIONS = "[...document.querySelectorAll('section.task')].filter(s => s.checkVisibility()).map(s => s.id)"
STOP = "(e => [e.tagName, e.name || e.id || e.innerText.slice(0, 6)].join(' '))(document.activeElement)"
OUTLINE = "(e => getComputedStyle(e.type === 'radio' ? e.nextElementSibling : e).outlineStyle)(document.activeElement)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = find_chromium()
    if program is None:
        pytest.fail(f"expected one of {', '.join(NAMES)} on PATH, got none: apt-get install chromium")
    with Chromium(program, tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tasks = []
    for name, (first, second, votes) in TASKS.items():
        test = result(first, second) | {"steps": FULL["tasks"][0]["test"][0]["steps"]}
        test["candidates"][0]["votes"] = votes
        large = {"input": [[3] * 30] * 30, "output": [[n % 10 for n in range(30)]] * 30}
        tasks.append({"id": name, "train": [large, *FULL["tasks"][0]["train"]], "test": [test]})
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(changed(("tasks",), tasks, FULL), path)
    return path


def choose(browser: Chromium, group: str, value: str) -> None:
    browser.run(f"document.querySelector('input[name={group}][value={value}]').click()")


def column(browser: Chromium, number: int) -> list[str]:
    """The ids in the order in which the rows are after a click on the head of a column."""
    browser.run(f"document.querySelectorAll('#tasks thead button')[{number}].click()")
    return browser.run(SHOWN)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_opens_without_a_fault_or_a_request_and_fits(
    browser: Chromium, page: Path, width: int, dark: bool, tmp_path: Path
) -> None:
    browser.open(page, width, dark=dark)
    assert browser.faults == []
    assert browser.requests == [page.as_uri()]
    assert browser.run("innerWidth") == width
    assert browser.run("matchMedia('(prefers-color-scheme: dark)').matches") == dark
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(20, 20, 19)") == dark
    browser.run("document.querySelectorAll('section.task').forEach(s => s.style.contentVisibility = 'visible')")
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.title").startswith("ARC report"), "no script of the record's ran"
    assert browser.run("document.querySelectorAll('script').length") == 1
    browser.picture(tmp_path / "page.png")


def test_every_picture_has_words_and_shows_what_it_refers_to(browser: Chromium, page: Path) -> None:
    browser.open(page)
    bare = "[...document.querySelectorAll('svg, img')].filter(e => !e.ariaLabel && e.ariaHidden !== 'true').length"
    assert browser.run(bare) == 0
    assert browser.run("document.querySelectorAll('svg[role=img]').length") > 40
    missing = (
        "[...document.querySelectorAll('use')].filter(e => !document.querySelector(e.getAttribute('href'))).length"
    )
    assert browser.run(missing) == 0
    empty = "[...document.querySelectorAll('svg[role=img]')].filter(e => e.getBBox().width < 1).length"
    assert browser.run(empty) == 0


def test_the_table_is_sorted_by_every_column_both_ways(browser: Chromium, page: Path) -> None:
    browser.open(page)
    assert browser.run(SHOWN) == list(TASKS)
    for number in range(7):
        ascending, descending = column(browser, number), column(browser, number)
        states = browser.run("[...document.querySelectorAll('#tasks thead th')].map(h => h.ariaSort)")
        assert states == ["none"] * number + ["descending"] + ["none"] * (6 - number)
        assert sorted(ascending) == sorted(descending) == sorted(TASKS)
        if number in (0, 5):  # no two are equal
            assert ascending == descending[::-1]
    assert column(browser, 0)[1:] == ["near9", "near10", "partly", "whole"], "numbers in ids as numbers"
    assert column(browser, 3) == ["whole", "near10", "near9", "partly", HOSTILE], "cells wrong"
    assert column(browser, 5) == [HOSTILE, "near10", "partly", "near9", "whole"], "top share"
    order = browser.run("[...document.querySelectorAll('section.task h2')].map(h => h.firstChild.data.trim())")
    assert order == browser.run(SHOWN), "the sections follow"


def test_filters_hide_rows_and_sections(browser: Chromium, page: Path) -> None:
    browser.open(page)
    ids = list(TASKS)
    for result_filter, votes_filter, places in (
        ("solved", "any", [0]),
        ("unsolved", "any", [1, 2, 3, 4]),
        ("near", "any", [2, 3]),
        ("all", "unanimous", [0, 3]),
        ("all", "split", [2, 4]),
        ("unsolved", "unanimous", [3]),
        ("solved", "split", []),
        ("all", "any", [0, 1, 2, 3, 4]),
    ):
        choose(browser, "result", result_filter)
        choose(browser, "votes", votes_filter)
        assert browser.run(SHOWN) == [ids[place] for place in places]
        assert browser.run(SECTIONS) == [f"task-{place}" for place in places]
        assert browser.run("document.getElementById('shown').innerText") == f"{len(places)} of 5 tasks shown"
    counts = browser.run("[...document.querySelectorAll('.count')].map(c => +c.innerText)")
    assert counts == [5, 1, 4, 2, 5, 2, 2]


def test_keys_move_the_focus(browser: Chromium, page: Path) -> None:
    browser.open(page)
    for key, focused in (("j", "task-0"), ("n", "task-1"), ("j", "task-2"), ("k", "task-1"), ("p", "task-0")):
        browser.press(key)
        assert browser.run("document.activeElement.id") == focused, key
        assert abs(browser.run("document.activeElement.getBoundingClientRect().top")) < 40, "and it is in view"
    browser.press("k")
    assert browser.run("document.activeElement.id") == "task-0", "there is none before the first"
    browser.press("t")
    assert browser.run("document.activeElement.innerText") == "whole"
    browser.press("/")
    assert browser.run("document.activeElement.id") == "search"
    for key in "near?":  # letters, and a key that means something elsewhere
        browser.press(key)
    assert browser.run("document.getElementById('search').value") == "near?"
    assert browser.run(SHOWN) == []
    browser.run("document.getElementById('search').value = ''")
    for key in "nEaR":
        browser.press(key)
    assert browser.run(SHOWN) == ["near10", "near9"]
    browser.press("Escape")
    assert browser.run("document.activeElement === document.body")
    for focused in ("task-2", "task-3", "task-3"):
        browser.press("j")
        assert browser.run("document.activeElement.id") == focused, "tasks that are hidden are passed over"
    assert browser.faults == []


def test_help_opens_and_closes_by_keys(browser: Chromium, page: Path) -> None:
    browser.open(page)
    browser.press("?", shift=True)
    assert browser.run("document.getElementById('help').open")
    browser.press("j")
    assert browser.run("document.activeElement.closest('dialog') !== null"), "the page behind it is at rest"
    browser.press("Escape")
    assert not browser.run("document.getElementById('help').open")
    assert browser.faults == []


def test_tab_goes_through_the_page_in_its_order(browser: Chromium, page: Path) -> None:
    browser.open(page)
    stops = []
    for _ in range(16):
        browser.press("Tab")
        assert browser.run(OUTLINE) == "solid", "the focus can be seen"
        stops.append(browser.run(STOP))
    heads = ["Task", "Result", "Output", "Cells ", "Votes", "Top sh", "Agreem"]
    assert stops[:6] == ["A Skip t", "INPUT result", "INPUT votes", "INPUT search", "BUTTON keys", "DIV Task\tR"]
    assert stops[6:13] == [f"BUTTON {head}" for head in heads]
    assert stops[13:] == ["A whole", "A partly", "A near10"]


def test_choices_and_heads_work_by_keys(browser: Chromium, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('input[name=result]').focus()")
    browser.press("ArrowRight")
    assert browser.run(SHOWN) == ["whole"]
    browser.open(page)
    browser.run("document.querySelectorAll('#tasks thead button')[5].focus()")
    browser.press("Enter")
    assert browser.run(SHOWN)[0] == HOSTILE


def test_without_script_everything_is_there(browser: Chromium, page: Path) -> None:
    browser.open(page, script=False)
    assert browser.run(SHOWN) == list(TASKS)
    assert browser.run("document.querySelectorAll('section.task').length") == len(TASKS)
    assert not browser.run("document.getElementById('filters').checkVisibility()"), "no buttons that do nothing"
    assert browser.run("document.querySelectorAll('#tasks thead button').length") == 0


def test_a_run_without_tasks_has_no_fault(browser: Chromium, tmp_path: Path) -> None:
    path = tmp_path / "empty.html"
    write_report(changed(("tasks",), [], FULL), path)
    browser.open(path)
    for number in range(7):
        column(browser, number)
    for key in "jkt/":
        browser.press(key)
    assert browser.faults == []
