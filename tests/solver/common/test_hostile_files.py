"""Hostile files are refused in one short line, or loaded correctly, within limits on CPU time and memory.

Large files are loaded in a child process with a limit on its address space (LIMIT) and CPU time (SECONDS).
A million valid tasks are refused: the limits are 64 MiB and 100,000 tasks, a hundred times the largest public set.
A loader that accepted more would only move the failure to the solver.
"""

import gzip
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from solver.answers import submission_json
from solver.common.files import MAX_BYTES, MAX_PARTS, write_atomically
from solver.tasks import load
from solver.tasks.load import load_tasks, load_truths
from tests.solver.tiny_tasks import PLAIN, plain, refusal, save, unknown

ROOT = Path(__file__).parents[3]
SECONDS = 20  # of CPU time, which other processes do not use up: the worst file takes 3 s
LIMIT = 1536 * 2**20  # bytes of address space: the program with numpy takes 0.3 GiB of it, the worst file 0.9 GiB
CELL = json.dumps(PLAIN, separators=(",", ":")).replace("[[4]]", "[[CELL]]")
SMALLEST = b'{"train":[{"input":[[0]],"output":[[0]]}],"test":[{"input":[[0]]}]}'
TESTS = b'{"a":{"train":[{"input":[[0]],"output":[[0]]}],"test":[%b]}}'

CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[3]),) * 2)
from solver.common.checks import InputError
from solver.tasks.load import load_tasks
try:
    print("loaded", len(load_tasks(sys.argv[1])))
except InputError as error:
    print(error)
"""


def repeated(unit: bytes, size: int = MAX_BYTES, head: bytes = b"", tail: bytes = b"") -> list[bytes]:
    """A document of at most `size` bytes that is mostly `unit`, in pieces."""
    return [head, unit * ((size - len(head) - len(tail)) // len(unit)), tail]


def write(path: Path, pieces: Iterable[bytes]) -> Path:
    with path.open("wb") as file:
        file.writelines(pieces)
    return path


def many_tasks(count: int) -> bytes:
    return b"{%b}" % b",".join(b'"%x":%b' % (number, SMALLEST) for number in range(count))


def sound(message: str, path: Path) -> str:
    """`message`, which is one line of bounded length that names the file and says expected and got."""
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message.removeprefix(str(path))) < 400
    assert "expected" in message
    assert "got" in message
    return message


def quick_refusal(load: Callable[[], object], path: Path) -> str:
    started = time.process_time()
    message = refusal(load)
    assert time.process_time() - started < SECONDS
    return sound(message, path)


# --- large: bounded in time and memory

LARGE: dict[str, tuple[Callable[[], Iterable[bytes]], str]] = {
    "only brackets": (lambda: repeated(b"["), "lists, objects and quotation marks, got 67108864"),
    "only objects": (lambda: repeated(b'{"a":'), "lists, objects and quotation marks"),
    "millions of empty lists": (lambda: repeated(b"[],", tail=b"[]]", head=b"["), "quotation marks, got 22369622"),
    "as many lists as may be, and numbers": (
        lambda: [b"[", b"[]," * (MAX_PARTS - 2), *repeated(b"1.5,", MAX_BYTES - 3 * MAX_PARTS, tail=b"1]")],
        "a JSON object of tasks or of one task, got [[], [], ",
    ),
    "as deep as no parser goes": (lambda: repeated(b"[", MAX_PARTS - 3, head=b'{"a":'), "got far too many levels"),
    "millions of zeros for pairs": (
        lambda: repeated(b"0,", 24 * 2**20, head=b'{"a":{"train":[', tail=b"0]}}"),
        "task 'a': train[0]: expected a pair",
    ),
    "a million rows": (
        lambda: [TESTS % b'{"input":[%b]}' % (b"[0]," * 1_000_000 + b"[0]")],
        "task 'a': test[0].input: expected 1 to 30 rows, got 1000001 rows",
    ),
    "a row of millions": (
        lambda: [TESTS % b'{"input":[[%b]]}' % (b"0," * 3_000_000 + b"0")],
        "task 'a': test[0].input[0]: expected a row of 1 to 30 cells, got 3000001 cells",
    ),
    "a million test inputs": (
        lambda: [TESTS % (b'{"input":[[0]]},' * 999_999 + b'{"input":[[0]]}')],
        "lists, objects and quotation marks",
    ),
    "a million tasks": (lambda: [many_tasks(1_000_000)], "a file of at most 64 MiB"),
    "more tasks than may be": (lambda: [many_tasks(load.MAX_TASKS + 1)], "at most 100000 tasks, got 100001"),
    "a key of 60 MB": (lambda: repeated(b"x", head=b'{"', tail=b'":0}'), "at most 255 characters, got 671088"),
    "a key of 60 MB twice": (
        lambda: [
            *repeated(b"x", MAX_BYTES // 2 - 4, b'{"', b'":0'),
            *repeated(b"x", MAX_BYTES // 2 - 4, b',"', b'":1'),
            b"}",
        ],
        "every key of an object once, got 'xxx",
    ),
    "four bytes a character": (
        lambda: repeated(b" ", head='{"a": "\U0001f600"'.encode(), tail=b"}"),
        "task 'a': expected an object",
    ),
    "blank": (lambda: repeated(b" "), "a JSON document, got an empty file"),
    "64 million digits": (lambda: repeated(b"9", head=b'{"a":', tail=b"}"), "got one of thousands of digits"),
    "64 million decimals": (lambda: repeated(b"9", head=b'{"a":0.', tail=b"}"), "got 1.0"),
    "numbers just short enough": (lambda: repeated(b"9" * 4300 + b",", 8 << 20, b'{"a":[', b"0]}"), "got ["),
    "escapes": (lambda: repeated(rb"\u001b", head=b'{"', tail=b'":0}'), r"got '\x1b"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_file_is_refused_in_bounded_time_and_memory(name: str, tmp_path: Path) -> None:
    make, words = LARGE[name]
    path = write(tmp_path / "c.json", make())
    child = [sys.executable, "-c", CHILD, str(path), str(LIMIT), str(SECONDS)]
    try:
        done = subprocess.run(child, capture_output=True, text=True, check=False, cwd=ROOT)
    finally:
        path.unlink()  # pytest keeps the folders of three runs
    assert (done.returncode, done.stderr) == (0, "")
    assert words in sound(done.stdout.removesuffix("\n"), path)


def test_a_sparse_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole: takes no room on the disk, but more memory than there is if it is read
    for loader in (load_tasks, load_truths, lambda path: submission_json.read(path, {"a": 1})):
        assert "at most 64 MiB, got 1048576.0 MiB" in quick_refusal(lambda loader=loader: loader(path), path)  # type: ignore[misc]


def test_as_many_tasks_as_may_be_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solver.tasks.load.MAX_TASKS", 500)
    assert len(load_tasks(write(tmp_path / "c.json", [many_tasks(500)]))) == 500
    path = write(tmp_path / "c.json", [many_tasks(501)])
    for loader in (load_tasks, load_truths, lambda path: load_tasks(path, lenient=True)):
        assert "at most 500 tasks, got 501" in quick_refusal(lambda loader=loader: loader(path), path)  # type: ignore[misc]


def test_lenient_reading_of_too_many_bad_tasks_warns_of_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "c.json", [b"{%b}" % b",".join(b'"%x":0' % number for number in range(300_000))])
    with caplog.at_level(logging.WARNING, "arc_trm"):
        quick_refusal(lambda: load_tasks(path, lenient=True), path)
    assert not caplog.records


def test_a_long_key_that_nobody_asks_for_is_left_alone(tmp_path: Path) -> None:
    assert load_tasks(save(tmp_path / "a.json", plain(**{"x" * 2**22: 1, "\x00": 2}))) == load_tasks(
        save(tmp_path / "a.json", plain())
    )


def test_an_id_may_be_as_long_as_a_files_name(tmp_path: Path) -> None:
    assert load_tasks(save(tmp_path / "c.json", {"x" * 255: plain()}))[0].id == "x" * 255
    path = save(tmp_path / "c.json", {"x" * 256: plain()})
    assert "at most 255 characters, got 256 characters" in quick_refusal(lambda: load_tasks(path), path)
    path = save(tmp_path / "s.json", {"x" * 256: [[[1]]]})
    assert "at most 255 characters" in quick_refusal(lambda: load_truths(path), path)


# --- small, and wrong in every place

CELLS = {
    **dict.fromkeys(("NaN", "Infinity", "-Infinity"), "standard JSON"),
    **dict.fromkeys(("1e999", "-1e999", "1e-999", "1.0", "-0.0", "1E0", "0." + "3" * 10**6), "an integer 0..9, got"),
    **dict.fromkeys(('"1"', '"\\u001b[2J"', "true", "null", "[]", "{}", "-1", "1" * 4300), "an integer 0..9, got"),
    **dict.fromkeys(("1" * 10**6, "-" + "1" * 10**6), "thousands of digits"),
    **dict.fromkeys(("01", "+1", "0x1", "1.", ".5", "1_0", "'1'", "１", "\x00", '"\x1b"'), "syntax error"),
    "1" * 10**6 + "e5": "got inf",
    "[" * 900 + "]" * 900: "got [[[[...",
    "[" * 100_000 + "]" * 100_000: "far too many levels",
    '{"a":' * 100_000 + "1" + "}" * 100_000: "far too many levels",
    '{"a": 1, "a": 1}': "every key of an object once, got 'a' twice",
}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell[:9].encode("unicode_escape").decode())
def test_a_cell_that_is_none_is_refused(cell: str, tmp_path: Path) -> None:
    text = CELL.replace("CELL", cell)
    for document in (text, f'{{"a":{text}}}'):
        path = save(tmp_path / "c.json", document)
        for read in (load_tasks, load_truths):
            message = quick_refusal(lambda read=read, path=path: read(path), path)  # type: ignore[misc]
            assert CELLS[cell] in message
    path = save(tmp_path / "s.json", f'{{"a":[{{"attempt_1":[[{cell}]],"attempt_2":[[0]]}}]}}')
    assert CELLS[cell] in quick_refusal(lambda: submission_json.read(path, {"a": 1}), path)


@pytest.mark.parametrize("text", ["-0", " 0 ", "\n0\r\t"])
def test_a_cell_in_unusual_spelling_is_read(text: str, tmp_path: Path) -> None:
    (task,) = load_tasks(save(tmp_path / "c.json", CELL.replace("CELL", text)))
    assert task.train[1].input.tolist() == [[0]]


IDS = [
    "\x00",
    "\x1b[2J",
    "\n",
    "a\rb",
    "\x7f",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\ud800",
    "\udc80",
    "\u200b",
    "",
    "|||",
    " \t",
]


@pytest.mark.parametrize("task_id", IDS, ids=ascii)
def test_an_id_with_control_characters_is_refused(task_id: str, tmp_path: Path) -> None:
    for read, document in ((load_tasks, {task_id: plain()}), (load_truths, {task_id: [[[1]]]})):
        path = save(tmp_path / "c.json", json.dumps(document))  # written as escapes
        assert "a task id" in quick_refusal(lambda read=read, path=path: read(path), path)  # type: ignore[misc]


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("challenges.json", json.dumps({"a": PLAIN}))
    return file.getvalue()


VALID = json.dumps({"a": PLAIN})
BYTES = {
    "zip": zipped(),
    "gzip": gzip.compress(VALID.encode()),
    "pickle": pickle.dumps({"a": PLAIN}),
    "pickle in ASCII": pickle.dumps({"a": PLAIN}, 0),
    "UTF-16 with its mark": VALID.encode("utf-16"),
    "UTF-16 without": VALID.encode("utf-16-le"),
    "UTF-16, the other way": VALID.encode("utf-16-be"),
    "UTF-32": VALID.encode("utf-32"),
    "UTF-7": VALID.replace('"', "\u201c").encode("utf-7"),
    "Latin-1": b'{"\xe9": 1}',
    "surrogates as bytes": b'{"\xed\xa0\x80": 1}',
    "overlong": b'{"\xc0\xaf": 1}',
    "two marks": b"\xef\xbb\xbf\xef\xbb\xbf" + VALID.encode(),
    "a mark alone": b"\xef\xbb\xbf",
    "zeros": bytes(1000),
    "after the end": VALID.encode() + b"\x00",
    "two documents": VALID.encode() * 2,
    "lines of documents": VALID.encode() + b"\n" + VALID.encode(),
    "cut": VALID.encode()[:-1],
    "duplicate id": VALID.encode()[:-1] + b"," + VALID.encode()[1:],
    "duplicate id, spelt otherwise": VALID.encode()[:-1] + b"," + VALID.replace('"a"', '"\\u0061"').encode()[1:],
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_json_of_ours_are_refused(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", [BYTES[name]])
    for loader in (load_tasks, load_truths, lambda path: load_tasks(path, lenient=True)):
        quick_refusal(lambda loader=loader: loader(path), path)  # type: ignore[misc]
    quick_refusal(lambda: submission_json.read(path, {"a": 1}), path)
    challenges = save(tmp_path / "challenges.json", {"a": unknown()})
    quick_refusal(lambda: load_tasks(challenges, path), path)


def test_what_a_killed_write_has_left_is_removed_by_a_later_one(tmp_path: Path) -> None:
    old, new = (tmp_path / f".c.json.{letter * 16}.tmp" for letter in "ab")
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    write_atomically(tmp_path / "c.json", b"{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "c.json"]
