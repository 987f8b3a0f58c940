"""Merging: the rule by hand, ties, what is missing or disagrees, and the command as a user meets it."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import __main__ as cli
from solver.answers import candidates_json, submission_json
from solver.answers.attempts import fallbacks
from solver.answers.candidates_json import Candidates
from solver.answers.votes import Candidate
from solver.common.checks import InputError
from solver.tasks.load import load_tasks
from submission.merge import command, merge
from tests.solver.tiny_tasks import refusal, save

CHALLENGES = {
    "one": {"train": [{"input": [[6, 6]], "output": [[5]]}], "test": [{"input": [[6]]}]},
    "two": {"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3]]}, {"input": [[4]]}]},
}


def pick(cell: int) -> np.ndarray:
    """A 1x1 grid."""
    return np.array([[cell]], np.uint8)


def voted(*pairs: tuple[int, int], halting: float = 0.5) -> list[Candidate]:
    """Candidates of one cell each, with their votes."""
    return [Candidate(pick(cell), votes, halting if votes else 0.0) for cell, votes in pairs]


def ranks(*cells: int) -> list[Candidate]:
    """A ranked list without votes, best first."""
    return [Candidate(pick(cell), 0, 0.0) for cell in cells]


def order(candidates: list[Candidate]) -> list[int]:
    return [int(c.grid[0, 0]) for c in candidates]


def scores(candidates: list[Candidate]) -> dict[int, float]:
    return {int(c.grid[0, 0]): c.weight for c in candidates}


def merged(*lists: list[Candidate], weights: tuple[float, ...] = ()) -> list[Candidate]:
    """What the lists of several sources become for one test output."""
    return merge([{"a": [one]} for one in lists], weights or (1.0,) * len(lists))["a"][0]


def attempt(first: int, second: int) -> dict[str, Any]:
    return {"attempt_1": [[first]], "attempt_2": [[second]]}


def attempts_in(path: Path) -> dict[str, list[tuple[int, int]]]:
    document = json.loads(path.read_bytes())
    return {task: [(e["attempt_1"][0][0], e["attempt_2"][0][0]) for e in tests] for task, tests in document.items()}


# --- the rule


def test_scores_by_votes_are_shares() -> None:
    result = merged(voted((1, 30), (2, 10)), voted((2, 5), (3, 5)))
    assert order(result) == [1, 2, 3], "a tie of 1 and 2 goes to the first file's first; 3 is less"
    assert scores(result) == {1: 0.75, 2: 0.75, 3: 0.5}


def test_scores_by_rank_are_inverse_ranks_that_sum_to_one() -> None:
    assert scores(merged(ranks(1, 2))) == pytest.approx({1: 2 / 3, 2: 1 / 3})
    assert scores(merged(ranks(1, 2, 3, 4))) == pytest.approx({1: 12 / 25, 2: 6 / 25, 3: 4 / 25, 4: 3 / 25})
    long = merged([Candidate(np.full((1 + k % 30, 1 + k // 30), 1, np.uint8), 0, 0.0) for k in range(300)])
    assert sum(c.weight for c in long) == pytest.approx(1)
    assert [long[0].weight / c.weight for c in long] == pytest.approx(list(range(1, 301)))


def test_votes_against_ranks() -> None:
    submission, votes = ranks(1, 2), voted((3, 7), (2, 3))
    assert scores(merged(submission, votes)) == pytest.approx({1: 2 / 3, 3: 0.7, 2: 1 / 3 + 0.3})
    assert order(merged(submission, votes)) == [3, 1, 2]
    assert order(merged(submission, votes, weights=(1, 0.5))) == [1, 2, 3]
    assert order(merged(submission, votes, weights=(0.1, 1))) == [3, 2, 1]


def test_votes_and_not_the_order_decide_where_there_are_votes() -> None:
    assert order(merged(voted((1, 1), (2, 0), (3, 5)))) == [3, 1, 2]


def test_votes_that_are_all_zero_are_ranks() -> None:
    assert scores(merged(voted((1, 0), (2, 0)))) == scores(merged(ranks(1, 2)))


def test_weights_decide() -> None:
    one, other = ranks(1, 2), ranks(3, 4)
    assert order(merged(one, other, weights=(1, 3)))[:2] == [3, 4]
    assert order(merged(one, other, weights=(3, 1)))[:2] == [1, 2]
    assert scores(merged(one, other, weights=(1, 3))) == pytest.approx({3: 2, 4: 1, 1: 2 / 3, 2: 1 / 3})
    assert order(merged(one, ranks(5), weights=(0, 1))) == [5, 1, 2], "weight 0 fills what is left"


def test_ties_go_to_the_file_and_then_to_the_rank() -> None:
    assert order(merged(ranks(2, 1), ranks(1, 2))) == [2, 1]
    assert order(merged(ranks(9), ranks(8), ranks(7))) == [9, 8, 7]
    assert order(merged(voted((5, 4), (4, 4), (6, 4)))) == [5, 4, 6]
    assert order(merged(ranks(3), ranks(1), ranks(1), weights=(0.3, 0.1, 0.2))) == [3, 1], "as typed, not as floats"
    thirds = merged(voted((7, 2), (8, 1)), voted((8, 1), (9, 2)), ranks(8, 7))
    assert order(thirds) == [8, 7, 9]
    assert scores(thirds)[8] == pytest.approx(4 / 3)


def test_votes_add_up_and_halting_is_their_mean() -> None:
    first, second = voted((1, 30), (2, 10), halting=0.5), voted((1, 10), (3, 0), halting=0.9)
    result = {int(c.grid[0, 0]): c for c in merged(first, second, ranks(1, 4))}
    assert {cell: c.votes for cell, c in result.items()} == {1: 40, 2: 10, 3: 0, 4: 0}
    assert {cell: c.halting for cell, c in result.items()} == pytest.approx({1: 0.6, 2: 0.5, 3: 0.0, 4: 0.0})
    assert (first[0].votes, first[0].weight) == (30, 0.0), "what was given is left as it was"


def test_grids_of_equal_cells_and_other_shapes_are_others() -> None:
    wide, tall = (Candidate(np.ones(shape, np.uint8), 0, 0.0) for shape in ((1, 2), (2, 1)))
    assert [c.grid.shape for c in merged([wide], [tall])] == [(1, 2), (2, 1)]


def test_tasks_are_the_union_and_who_lacks_one_says_nothing() -> None:
    result = merge([{"b": [ranks(1)]}, {"a": [ranks(2), []], "b": [ranks(3)]}], [1, 5])
    assert {task: [order(one) for one in tests] for task, tests in result.items()} == {"b": [[3, 1]], "a": [[2], []]}
    assert list(result) == ["b", "a"]


def test_sources_that_disagree_on_the_number_of_test_outputs_are_refused() -> None:
    sources = [{"x": [ranks(1)]}, {"a": [ranks(1)], "x": [ranks(1), ranks(2)]}]
    message = refusal(lambda: merge(sources, [1, 1], ["A.json", "B.json"]))
    assert message == "B.json: task 'x': expected 1 test outputs, as in A.json, got 2"
    assert "source 2" in refusal(lambda: merge(sources, [1, 1]))


@pytest.mark.parametrize(
    "weights",
    [(), (1.0,), (1.0, 1.0, 1.0), (0.0, 0.0), (1.0, -0.5), (1.0, float("nan")), (float("inf"), 1), (1e308, 1e308)],
)
def test_bad_weights_are_refused(weights: tuple[float, ...]) -> None:
    assert refusal(lambda: merge([{"a": [ranks(1)]}] * 2, weights)).startswith("weights: ")


cells = st.lists(st.integers(0, 9), unique=True, min_size=1, max_size=5)
lists = cells.map(lambda found: ranks(*found)) | cells.flatmap(
    lambda found: st.lists(st.integers(0, 12), min_size=len(found), max_size=len(found)).map(
        lambda votes: voted(*zip(found, votes, strict=True))
    )
)


@settings(max_examples=150)
@given(one=lists, weight=st.integers(1, 50), copies=st.integers(2, 4))
def test_merging_a_file_with_itself_changes_no_order(one: list[Candidate], weight: int, copies: int) -> None:
    alone = order(merged(one))
    assert order(merged(*[one] * copies, weights=(weight / 10,) * copies)) == alone
    counts = [c.votes for c in one]
    if counts == sorted(counts, reverse=True):
        assert alone == order(one), "what is ranked already stays so"


@settings(max_examples=150)
@given(
    given_lists=st.lists(lists, min_size=1, max_size=4),
    weights=st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(lambda w: w[0] > 0),
    factor=st.sampled_from([0.01, 0.1, 0.3, 0.7, 3, 1e6]),
)
def test_scaling_all_weights_changes_no_order(
    given_lists: list[list[Candidate]], weights: list[int], factor: float
) -> None:
    chosen = weights[: len(given_lists)]
    scaled = tuple(float(f"{weight * factor:.12g}") for weight in chosen)  # as somebody would type them
    plain, other = merged(*given_lists, weights=tuple(chosen)), merged(*given_lists, weights=scaled)
    assert order(plain) == order(other)
    assert [c.weight * factor for c in plain] == pytest.approx([c.weight for c in other])


@settings(max_examples=100)
@given(given_lists=st.lists(lists, min_size=1, max_size=4), data=st.data())
def test_scores_sum_to_the_weights_and_come_best_first(given_lists: list[list[Candidate]], data: st.DataObject) -> None:
    count = len(given_lists)
    weights = data.draw(st.lists(st.floats(0.1, 9), min_size=count, max_size=count))
    result = merged(*given_lists, weights=tuple(weights))
    assert sum(c.weight for c in result) == pytest.approx(sum(weights))
    assert [c.weight for c in result] == sorted((c.weight for c in result), reverse=True)
    assert sorted(order(result)) == sorted({cell for one in given_lists for cell in order(one)})


# --- the command


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with two submissions, a candidates file and challenges."""
    save(tmp_path / "a.json", {"one": [attempt(1, 2)], "two": [attempt(3, 4), attempt(5, 5)]})
    save(tmp_path / "b.json", {"one": [attempt(2, 1)], "two": [attempt(4, 6), attempt(7, 8)]})
    save(tmp_path / "votes.json", {"one": [[{"grid": [[c]], "votes": v} for c, v in ((9, 8), (2, 2))]]})
    save(tmp_path / "challenges.json", CHALLENGES)
    return tmp_path


def run(folder: Path, *names: str, out: str = "out/merged.json", **options: Any) -> Path:
    """Merge the named files of `folder`; where the submission is."""
    if "challenges" in options:
        options["challenges"] = str(folder / options["challenges"])
    assert command(tuple(folder / f"{name}.json" for name in names), folder / out, **options) == 0
    return folder / out


def test_two_submissions_of_other_tools(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(files, "a", "b")
    assert attempts_in(out) == {"one": [(1, 2)], "two": [(4, 3), (5, 7)]}
    submission_json.check(out, {"one": 1, "two": 2})
    printed = capsys.readouterr().out
    # Of a's three pairs, the last changes; the first two hold the same grids, in whatever order.
    assert printed == (
        f"{out}: 2 files, 2 tasks, 3 test outputs; 1 pairs of attempts differ from those of {files / 'a.json'}\n"
    )
    assert [path.name for path in out.parent.iterdir()] == ["merged.json"]


def test_the_whole_command_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(files / f"{name}.json") for name in ("a", "b")]
    options = ["--challenges", str(files / "challenges.json"), "--candidates", "3", "--out", str(files / "m.json")]
    assert cli.main(["merge", *names, "--weights", "1", "2.5", *options]) == 0
    # a says 5 twice, so that 5 has all of its weight, 1; 8 has a third of 2.5.
    assert attempts_in(files / "m.json") == {"one": [(2, 1)], "two": [(4, 6), (7, 5)]}
    assert (files / "candidates.json").exists()
    capsys.readouterr()
    assert cli.main(["merge", *names, "--weights", "1", "--out", str(files / "n.json")]) == 1
    assert capsys.readouterr().err == "error: weights: expected 2, one for each file, got 1\n"


def test_one_known_grid_is_given_twice_unless_challenges_tell_more(files: Path) -> None:
    save(files / "c.json", {"two": [[{"grid": [[3]]}], [{"grid": [[9]]}]]})
    assert attempts_in(run(files, "c")) == {"two": [(3, 3), (9, 9)]}
    filled = attempts_in(run(files, "c", challenges="challenges.json"))
    assert filled["two"] == [(3, 2), (9, 4)], "the input is no second attempt where it is the first already"


def test_missing_tasks_get_fallbacks_with_challenges_alone(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(attempts_in(run(files, "votes"))) == ["one"]
    capsys.readouterr()
    out = run(files, "votes", challenges="challenges.json")
    tasks = load_tasks(files / "challenges.json")
    submission_json.check(out, submission_json.expected_counts(tasks))
    assert list(attempts_in(out)) == ["one", "two"]
    assert attempts_in(out)["one"] == [(9, 2)]
    wanted = [tuple(int(g[0, 0]) for g in fallbacks(tasks[1], index)) for index in (0, 1)]
    assert attempts_in(out)["two"] == wanted
    assert "2 tasks, 3 test outputs; 0 pairs" in capsys.readouterr().out


def test_an_output_without_a_candidate_needs_challenges(files: Path) -> None:
    save(files / "c.json", {"two": [[{"grid": [[3]]}], []]})
    message = refusal(lambda: run(files, "c"))
    assert "task 'two': [1]" in message
    assert "--challenges" in message
    assert not (files / "out").exists()
    assert attempts_in(run(files, "c", "b")) == {"two": [(3, 4), (7, 8)], "one": [(2, 1)]}
    assert attempts_in(run(files, "c", challenges="challenges.json"))["two"] == [(3, 2), (4, 2)]


def test_files_and_challenges_that_disagree_are_refused(files: Path) -> None:
    save(files / "more.json", {"one": [attempt(1, 2), attempt(1, 2)]})
    message = refusal(lambda: run(files, "a", "more"))
    assert f"{files / 'more.json'}: task 'one': expected 1 test outputs, as in {files / 'a.json'}, got 2" == message
    message = refusal(lambda: run(files, "more", challenges="challenges.json"))
    assert f"expected 1 test outputs, as in {files / 'challenges.json'}, got 2" in message
    save(files / "other.json", {"one": [attempt(1, 2)], "strange": [attempt(1, 2)]})
    message = refusal(lambda: run(files, "a", "other", challenges="challenges.json"))
    assert message.startswith(f"{files / 'other.json'}: expected only the 2 tasks of {files / 'challenges.json'}")
    assert "'strange'" in message
    assert "strange" in attempts_in(run(files, "a", "other"))


def test_a_bad_file_is_named(files: Path) -> None:
    save(files / "bad.json", {"one": [attempt(1, 10)]})
    message = refusal(lambda: run(files, "a", "bad"))
    assert message.startswith(f"{files / 'bad.json'}: task 'one': [0].attempt_2[0][0]: ")
    assert "no.json" in refusal(lambda: run(files, "a", "no"))


def test_the_best_candidates_are_written_beside_the_submission(files: Path) -> None:
    out = run(files, "votes", "a", "b", candidates=2, challenges="challenges.json")
    known: Candidates = candidates_json.read(out.parent / "candidates.json")
    assert {task: [order(one) for one in tests] for task, tests in known.items()} == {
        "one": [[2, 1]],  # 1/5 + 1/3 + 2/3, then 2/3 + 1/3, before 4/5 of the votes
        "two": [[4, 3], [5, 7]],
    }
    assert [c.votes for c in known["one"][0]] == [2, 0]
    assert attempts_in(out)["one"] == [(2, 1)]
    run(files, "votes", candidates=1, challenges="challenges.json")
    assert [len(one) for one in candidates_json.read(out.parent / "candidates.json")["two"]] == [0, 0]
    assert "candidates: expected 1 or more, got 0" in refusal(lambda: run(files, "a", out="z.json", candidates=0))
    assert not (files / "z.json").exists(), "refused before anything is written"


def test_scores_beyond_the_format_are_refused_before_anything_is_written(files: Path) -> None:
    sources, out = [files / "a.json"], files / "merged.json"
    with pytest.raises(InputError, match=r"weight: expected a number, 0 to 2\^48, got "):
        command(tuple(sources), out, weights=(1e300,), candidates=3)
    assert not out.exists()


def test_no_input_is_overwritten(files: Path) -> None:
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    (files / "link.json").symlink_to("b.json")
    (files / "folder").mkdir()
    for out in ("b.json", "folder/../b.json", "link.json"):
        assert "got an input" in refusal(partial(run, files, "a", "b", out=out))
    assert "got an input" in refusal(lambda: run(files, "a", "link", out="b.json"))
    assert "got an input" in refusal(lambda: run(files, "a", out="challenges.json", challenges="challenges.json"))
    assert "or --out" in refusal(lambda: run(files, "a", out="candidates.json", candidates=3))
    save(files / "candidates.json", {"one": [[{"grid": [[1]]}]]})
    assert "or --out" in refusal(lambda: run(files, "candidates", out="x.json", candidates=3))
    assert {name: (files / name).read_bytes() for name in before} == before
    run(files, "candidates", out="x.json")
    run(files, "a", out="x.json", candidates=3)  # an old result may go


def test_the_first_file_merged_alone_differs_nowhere(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ({}, {"challenges": "challenges.json"}):
        run(files, "a", "a", "a", **options)
        assert "; 0 pairs of attempts differ" in capsys.readouterr().out
    save(files / "three.json", {"one": [[{"grid": [[c]]} for c in (1, 2, 3)]]})
    run(files, "three", "three")
    assert "; 0 pairs of attempts differ" in capsys.readouterr().out, "its third grid is no attempt"
    run(files, "votes", "a")
    assert "2 tasks, 3 test outputs; 3 pairs of attempts differ" in capsys.readouterr().out, "two are new altogether"


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one file"):
        command((), tmp_path / "out.json")
