"""submission.json: what is written is read back, what Kaggle would refuse is refused, a crash leaves a whole file."""

import copy
import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from solver.answers.submission_json import Attempts, build, check, expected_counts, read, write
from solver.common.checks import InputError
from solver.common.files import write_atomically
from solver.tasks.task import parse_task
from tests.solver import documents

EXPECTED = {"a": 2, "b": 1}
GOOD = {
    "a": [{"attempt_1": [[1, 2]], "attempt_2": [[3]]}, {"attempt_1": [[0]], "attempt_2": [[0]]}],
    "b": [{"attempt_1": [[9], [8]], "attempt_2": [[7]]}],
}


def grid(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, dtype=np.uint8)


def answers() -> dict[str, list[Attempts]]:
    return {
        "a": [(grid([[1, 2]]), grid([[3]])), (grid([[0]]), grid([[0]]))],
        "b": [(grid([[9], [8]]), grid([[7]]))],
    }


def good() -> dict[str, Any]:
    return copy.deepcopy(GOOD)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_the_file_is_what_kaggle_wants() -> None:
    assert json.loads(build(answers())) == GOOD
    check(good(), EXPECTED)


def test_expected_counts_are_of_test_inputs() -> None:
    pair = {"input": [[1]], "output": [[1]]}
    tasks = [
        parse_task("a", {"train": [pair], "test": [pair, pair]}, "x"),
        parse_task("b", {"train": [pair], "test": [pair]}, "x"),
    ]
    assert expected_counts(tasks) == EXPECTED


def test_written_answers_are_read_back_in_the_expected_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "submission.json"
    write(path, answers())
    check(path, EXPECTED)
    check(str(path), EXPECTED)
    result = read(path, {"b": 1, "a": 2})
    assert list(result) == ["b", "a"]
    assert build(result) == build(dict(reversed(answers().items())))
    assert names_in(path.parent) == ["submission.json"]


grid_arrays = arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.integers(0, 9))


@settings(max_examples=30)
@given(entries=st.lists(st.tuples(grid_arrays, grid_arrays), min_size=1, max_size=3))
def test_any_grids_travel_unchanged(entries: list[Attempts], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round.json"
    write(path, {"a": entries})
    back = read(path, {"a": len(entries)})["a"]
    for (first, second), (first_back, second_back) in zip(entries, back, strict=True):
        assert np.array_equal(first, first_back)
        assert np.array_equal(second, second_back)


def changed(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    """GOOD with one place overwritten, or removed where `value` is ..."""
    return documents.changed(path, value, good())


SECOND = ("a", 1, "attempt_2")
PLACE = "task 'a': [1].attempt_2"
REFUSED = {
    "missing task": (changed(("b",), ...), ["1 of 2 are missing", "'b'"]),
    "surplus task": (changed(("z",), GOOD["b"]), ["2 tasks", "1 others", "'z'"]),
    "no task": ({}, ["2 of 2 are missing", "'a'"]),
    "no object": ([GOOD], ["an object"]),
    "too few entries": (changed(("a", 1), ...), ["task 'a'", "expected 2 entries", "got 1"]),
    "too many entries": (changed(("b",), GOOD["a"]), ["task 'b'", "expected 1 entries", "got 2"]),
    "entries no list": (changed(("a",), GOOD["a"][0]), ["task 'a'", "a list of 2"]),
    "entry no object": (changed(("a", 1), [[0]]), ["task 'a': [1]", "attempt_1 and attempt_2", "got [[0]]"]),
    "attempt missing": (changed(SECOND, ...), [PLACE, "got none"]),
    "attempt_3": (changed(("a", 1, "attempt_3"), [[0]]), ["task 'a': [1]", "alone", "'attempt_3'"]),
    "null": (changed(SECOND, None), [PLACE, "got None"]),
    "ragged": (changed(SECOND, [[1, 2], [3]]), [f"{PLACE}[1]", "2 cells", "got 1"]),
    "ten": (changed(SECOND, [[0, 10]]), [f"{PLACE}[0][1]", "0..9", "got 10"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_kaggle_would_refuse_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    document, words = REFUSED[name]
    path = tmp_path / "submission.json"
    path.write_bytes(orjson.dumps(document))
    for submission, prefix in ((document, "submission: "), (path, f"{path}: ")):
        with pytest.raises(InputError) as caught:
            check(submission, EXPECTED)
        message = str(caught.value)
        assert message.isprintable()
        assert message.startswith(prefix)
        assert all(word in message for word in ["expected", "got", *words]), message


BAD_ANSWERS = {
    "empty grid": {"a": [(grid([[1]]), np.zeros((0, 0), np.uint8))]},
    "large grid": {"a": [(grid([[1]]), np.zeros((31, 1), np.uint8))]},
    "colour 10": {"a": [(grid([[1]]), grid([[10]]))]},
    "float": {"a": [(grid([[1]]), np.ones((1, 1)))]},
    "one attempt": {"a": [(grid([[1]]),)]},
    "no entry": {"a": []},
    "id": {"a|||b": [(grid([[1]]), grid([[1]]))]},
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_nothing_is_written_that_would_be_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    write(path, answers())
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"^submission: .*expected"):
        write(path, BAD_ANSWERS[name])  # type: ignore[arg-type]
    assert path.read_bytes() == before


# --- atomic writing


def fail(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", [(os, "fsync"), (Path, "replace"), (Path, "mkdir"), (Path, "open")])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_failing_disk_leaves_the_old_file(
    step: tuple[object, str], old: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "submission.json"
    if old is not None:
        path.write_bytes(old)
    with monkeypatch.context() as patch:
        patch.setattr(*step, fail)
        with pytest.raises(InputError) as caught:
            write(path, answers())
    message = str(caught.value)
    assert message.startswith(f"{path}: expected to write ")
    assert "No space left on device" in message
    assert names_in(tmp_path) == ([] if old is None else ["submission.json"])
    assert old is None or path.read_bytes() == old


def test_an_interrupt_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "submission.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(path, answers())
    assert names_in(tmp_path) == ["submission.json"]
    assert path.read_bytes() == b"old"


def test_the_bytes_are_on_the_disk_before_they_take_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "submission.json"
    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def seen_sync(handle: int) -> None:
        mode = os.fstat(handle)
        events.append("sync folder" if stat.S_ISDIR(mode.st_mode) else f"sync {mode.st_size} bytes")
        sync(handle)

    def seen_replace(temporary: Path, target: Path) -> Path:
        assert temporary.parent == target.parent, "another file system could not rename in one step"
        events.append("replace")
        return replace(temporary, target)

    monkeypatch.setattr(os, "fsync", seen_sync)
    monkeypatch.setattr(Path, "replace", seen_replace)
    write_atomically(path, b"12345")
    assert events == ["sync 5 bytes", "replace", "sync folder"]


def test_a_file_system_that_cannot_sync_folders_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", fail)  # Path.open does not use it, only the folder's sync does
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_links_are_followed_and_folders_and_devices_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    for bad in (
        tmp_path,
        tmp_path / "pipe",
        tmp_path / "file" / "below",
        tmp_path / "zero\0",
        Path("/"),
        Path("/dev/null"),
    ):
        with pytest.raises(InputError, match="expected to write 1 bytes, got: "):
            write_atomically(bad, b"x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_the_file_gets_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_atomically(tmp_path / "ours", b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode
    write_atomically(tmp_path / ("long" * 63), b"x")  # 252 characters: the temporary name must not be longer still
