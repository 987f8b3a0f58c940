"""The journal: what is appended is read, whatever else lies in the folder, and a kill or a full disk loses no block."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.answers import candidates_json
from solver.answers.journal import Journal, JournalReader, clear_journal, own_folder
from solver.answers.outcome import Outcome
from solver.answers.run_json import read_run, write_record
from solver.answers.votes import MOST_VOTES, Block, Candidate, Votes
from solver.common.checks import InputError
from solver.tasks.task import Pair, Task, without_test_outputs
from tests.solver.samples import TALL, TASKS, grid

ROOT = Path(__file__).parents[3]
BLOCK = Block(("tall", 0), 0, [Candidate(grid("6", "7"), 3, 0.5)])


def plain(block: Block) -> tuple[Any, ...]:
    """A block as a value that can be compared."""
    return block.test, block.round, [(c.grid.tolist(), c.votes, c.halting) for c in block.candidates]


def numbered(number: int) -> Block:
    return Block(("tall", 0), number, [Candidate(grid("1"), number + 1, 0.25)])


def read(folder: Path, tasks: list[Task] = TASKS) -> list[tuple[Any, ...]]:
    return [plain(block) for block in JournalReader(folder, tasks).new_blocks()]


GRIDS = st.integers(1, 30).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 9), min_size=width, max_size=width), min_size=1, max_size=30)
)
CANDIDATES = st.builds(
    lambda cells, votes, halting: Candidate(np.array(cells, np.uint8), votes, halting),
    GRIDS,
    st.integers(1, 2**40),
    st.floats(0, 1),
)
BLOCKS = st.builds(
    Block,
    st.sampled_from([("mirror", 0), ("mirror", 1), ("tall", 0)]),
    st.integers(0, 99),
    st.lists(CANDIDATES, max_size=2),
)


@settings(max_examples=25)
@given(st.lists(st.lists(BLOCKS, max_size=2), max_size=3))
def test_what_is_appended_is_read(tmp_path_factory: pytest.TempPathFactory, appended: list[list[Block]]) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder, TASKS)
    for blocks in appended:
        journal.append(blocks)
    assert read(folder) == [plain(block) for blocks in appended for block in blocks]


def test_grids_that_are_views_are_written_as_they_look(tmp_path: Path) -> None:
    turned = grid("123", "456").T
    Journal(tmp_path, TASKS).append([Block(("tall", 0), 0, [Candidate(turned, 1, 0.5)])])
    assert read(tmp_path)[0][2][0][0] == [[1, 4], [2, 5], [3, 6]]


def test_a_folder_without_votes_is_no_journal_yet(tmp_path: Path) -> None:
    assert read(tmp_path / "nowhere") == []
    clear_journal(tmp_path / "nowhere")


def test_a_torn_last_line_is_left_out_wherever_it_is_torn(tmp_path: Path) -> None:
    journal = Journal(tmp_path, TASKS)
    journal.append([numbered(0), numbered(1)])
    whole = journal.path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(len(whole)):
        journal.path.write_bytes(whole[:end])
        assert len(read(tmp_path)) == (end >= first)


def test_lines_are_read_once_and_when_they_are_whole(tmp_path: Path) -> None:
    source = Journal(tmp_path / "source", TASKS)
    source.append([numbered(n) for n in range(3)])
    whole, path = source.path.read_bytes(), tmp_path / "votes-1.jsonl"
    reader, seen = JournalReader(tmp_path, TASKS), []
    for end in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:end])
        seen += [block.round for block in reader.new_blocks()]
    path.write_bytes(whole)
    seen += [block.round for block in reader.new_blocks()]
    assert seen == [0, 1, 2]
    assert list(reader.new_blocks()) == []


def test_several_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    first, second = Journal(tmp_path, TASKS), Journal(tmp_path, TASKS)
    assert first.path != second.path
    reader = JournalReader(tmp_path, TASKS)
    seen = []
    for number in range(4):
        (first, second)[number % 2].append([numbered(number)])
        seen += [block.round for block in reader.new_blocks()]
    assert seen == [0, 1, 2, 3]
    assert sorted(block[1] for block in read(tmp_path)) == [0, 1, 2, 3]


def test_a_file_that_cannot_be_read_hides_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "votes-0.jsonl").mkdir()
    os.mkfifo(tmp_path / "votes-1.jsonl")
    (tmp_path / "votes-2.jsonl").write_bytes(b"secret\n")
    Journal(tmp_path, TASKS).append([BLOCK])
    reader = JournalReader(tmp_path, TASKS)
    with pytest.MonkeyPatch.context() as patched:  # not by chmod, which root may ignore
        real = Path.open

        def refusing(path: Path, *mode: str) -> Any:
            if path.name == "votes-2.jsonl":
                raise PermissionError(13, "Permission denied")
            return real(path, *mode)

        patched.setattr(Path, "open", refusing)
        assert [plain(block) for block in reader.new_blocks()] == [plain(BLOCK)]
        assert list(reader.new_blocks()) == []
    assert caplog.text.count("votes-2.jsonl: expected to read votes, got: Permission denied") == 1
    clear_journal(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["votes-0.jsonl", "votes-1.jsonl"]
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(InputError, match="expected a folder to write to"), own_folder(tmp_path, "lock"):
        pass


def test_votes_beyond_what_json_holds_are_not_counted(tmp_path: Path) -> None:
    """They would end the run when its record is written."""
    votes = Votes(TASKS)
    Journal(tmp_path, TASKS).append([BLOCK._replace(candidates=[Candidate(grid("1"), MOST_VOTES - 1, 0.5)])] * 3)
    Journal(tmp_path, TASKS).append([BLOCK._replace(candidates=[Candidate(grid("1"), MOST_VOTES + 1, 0.5)])])
    for block in JournalReader(tmp_path, TASKS).new_blocks():
        votes.add(block)
    record = write_record(tmp_path, TASKS, Outcome(votes), "tiny", "here", 0)
    assert record["tasks"][1]["test"][0]["votes"] == MOST_VOTES
    assert read_run(tmp_path) == record
    candidates_json.write(tmp_path / candidates_json.FILE_NAME, votes.ranked(), 1)


def test_a_broken_line_in_a_file_that_is_being_written_costs_no_votes(tmp_path: Path) -> None:
    """A reader is past it already when the writer goes on."""
    journal, reader = Journal(tmp_path, TASKS), JournalReader(tmp_path, TASKS)
    first, second = (Block(("mirror", 0), number, [Candidate(grid("1"), 1, 0.5)]) for number in (0, 1))
    journal.append([first])
    with journal.path.open("ab") as file:
        file.write(b"broken\n")
    assert len(list(reader.new_blocks())) == 1
    journal.append([second])
    assert [block.round for block in reader.new_blocks()] == [1]


def test_votes_of_other_tasks_are_left_alone(tmp_path: Path) -> None:
    pair = Pair(grid("9"), grid("9"))
    others = [
        Task("another", TALL.train, TALL.test),
        Task("tall", (*TALL.train, pair), TALL.test),  # the same id, other demonstrations
        Task("tall", TALL.train, (pair,)),  # … other test inputs
        Task("tall", TALL.train, (*TALL.test, pair)),
        Task("tall", TALL.train, (Pair(TALL.test[0].input.T, None),)),  # … the same cells in another shape
    ]
    for other in others:
        Journal(tmp_path, [other]).append([Block((other.id, 0), 0, [Candidate(grid("1"), 1, 0.5)])])
    assert read(tmp_path) == []
    Journal(tmp_path, [without_test_outputs(TALL)]).append([BLOCK])  # whether outputs are known does not matter
    assert read(tmp_path) == [plain(BLOCK)]


def line(**changes: Any) -> bytes:
    """A line as the journal writes it, with some members replaced; those that are ... are left out."""
    journal = Journal(Path(os.devnull).parent, [TALL])  # makes no file before it appends
    document = orjson.loads(journal._line(BLOCK)) | changes
    return json.dumps({key: value for key, value in document.items() if value is not ...}).encode() + b"\n"


HOSTILE = [
    b"\n", b"null\n", b"[]\n", b"{}\n", b"7\n", b'"task"\n', b"\xff\xfe\n", b"{\n",
    b"[" * 10_000 + b"\n", b"\0" * 9 + b"\n",
    *(line(**{key: ...}) for key in ("task", "of", "test", "round", "candidates")),
    *(line(test=value) for value in (-1, 1, 0.5, "0", None, [0], 1e999)),
    *(line(round=value) for value in (-1, 0.5, 10**9, 2**70, "0", None, [], {})),
    *(line(task=value) for value in ([], {}, None, 3, "mirror", "x" * 10**5)),
    *(line(of=value) for value in ("", None, 0, [])),
    *(line(candidates=value) for value in (None, 3, [3], [[]], [["1"]], [["1", 1]], [["1", 1, 0.5, 2]], [{}], "abc")),
    *(
        line(candidates=[["1", 1, 0.5], [rows, votes, halting]])
        for rows, votes, halting in [
            (5, 1, 0.5), (["1"], 1, 0.5), ("", 1, 0.5), ("a", 1, 0.5), ("1/22", 1, 0.5), ("1/", 1, 0.5),
            ("1" * 31, 1, 0.5), ("/".join("1" * 31), 1, 0.5),
            ("-1", 1, 0.5), ("1 2", 1, 0.5), ("1", 0, 0.5), ("1", -1, 0.5), ("1", 1.0, 0.5), ("1", True, 0.5),
            ("1", "1", 0.5), ("1", None, 0.5), ("1", 1, -0.1), ("1", 1, 1.1), ("1", 1, None), ("1", 1, "0.5"),
        ]
    ),
]  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda value: value[-60:].decode("latin-1").strip())
def test_a_line_that_is_none_of_ours_is_left_out(tmp_path: Path, hostile: bytes) -> None:
    journal = Journal(tmp_path, TASKS)
    journal.append([BLOCK])
    good = journal.path.read_bytes()
    journal.path.write_bytes(hostile + good + hostile)
    assert read(tmp_path) == [plain(BLOCK)]


class FullDisk:
    """A file on a disk that takes so many bytes more."""

    def __init__(self, real: Any, room: int) -> None:
        self.real, self.room = real, room

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *_: object) -> None:
        self.real.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def write(self, data: bytes) -> int:
        self.real.write(data[: self.room])
        self.real.flush()
        if len(data) > self.room:
            raise OSError(28, "No space left on device")
        return len(data)


@pytest.mark.parametrize("room", [0, 1, 50, 100, 150])
def test_a_full_disk_keeps_blocks_waiting_and_writes_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    journal, reader, seen = Journal(tmp_path, TASKS), JournalReader(tmp_path, TASKS), []
    journal.append([numbered(0)])
    real = Path.open
    with monkeypatch.context() as full:
        full.setattr(Path, "open", lambda *given: FullDisk(real(*given), room) if "ab" in given else real(*given))
        for number in (1, 2):
            with pytest.raises(OSError, match="No space left"):
                journal.append([numbered(2 * number - 1), numbered(2 * number)])
            seen += [block.round for block in reader.new_blocks()]  # another process may look at any time
    journal.append([numbered(5)])
    seen += [block.round for block in reader.new_blocks()]
    assert seen == list(range(6))
    assert [block[1] for block in read(tmp_path)] == list(range(6))
    assert all(orjson.loads(text) for text in journal.path.read_bytes().splitlines())


def test_what_did_not_reach_the_disk_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, TASKS)

    def fail(handle: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            journal.append([numbered(0)])
    journal.append([numbered(1)])
    assert [block[1] for block in read(tmp_path)] == [0, 1]


def test_clearing_forgets_votes_and_nothing_else(tmp_path: Path) -> None:
    Journal(tmp_path, TASKS).append([BLOCK])
    (tmp_path / "notes.txt").write_text("mine")
    clear_journal(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


CHILD = """
import os, sys, itertools
import numpy as np
from pathlib import Path
from solver.answers.votes import Candidate
from solver.answers.journal import Journal
from solver.tasks.task import Pair, Task
from solver.answers.votes import Block
assert "torch" not in sys.modules
one = np.ones((1, 1), np.uint8)
task = Task("t", (Pair(one, one),), (Pair(one, None),))
os.fsync = lambda handle: None  # the kernel keeps what a killed process wrote; the disk is not tried here
print("ready", flush=True)
for folder in sys.stdin:  # a child of its own for each kill
    if os.fork() == 0:
        journal = Journal(Path(folder.strip()), [task])
        os.write(1, b"%d\\n" % os.getpid())
        for number in itertools.count():
            grid = np.full((30, 30), number % 10, np.uint8)
            journal.append([Block(("t", 0), number % 900, [Candidate(grid, number + 1, 0.5)] * 40)])
            os.write(1, b"%d\\n" % number)
    os.wait()
    print("dead", flush=True)
"""


@pytest.mark.slow
def test_a_kill_while_appending_tears_no_earlier_line(tmp_path: Path) -> None:
    one = grid("1")
    task = Task("t", (Pair(one, one),), (Pair(one, None),))
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        for attempt in range(30):
            folder = tmp_path / str(attempt)
            print(folder, file=parent.stdin, flush=True)
            child = int(parent.stdout.readline())
            done = [int(parent.stdout.readline()) for _ in range(1 + attempt % 7)]
            os.kill(child, 9)
            while (said := parent.stdout.readline()) != "dead\n":
                done.append(int(said))
            blocks = list(JournalReader(folder, [task]).new_blocks())
            assert [block.round for block in blocks[: len(done)]] == done
            assert len(done) <= len(blocks) <= len(done) + 1
            assert all(len(block.candidates) == 40 for block in blocks)
        parent.stdin.close()
        assert parent.wait(600) == 0
