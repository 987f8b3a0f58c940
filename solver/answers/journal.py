"""The journal of a run: every counted block of votes is appended at once, so that a restart loses none.

A folder with one file `votes-*.jsonl` per process. Each line is

    {"task": id, "of": digest of the task with its test inputs, "test": 0, "round": 0,
     "candidates": [["012/345" (rows of a grid), votes, mean halting probability], ...]}

with "leaks": true if the weights may have seen the test outputs, and "by", a digest of weights and code, where it is
known. A kill can cut off only the last line of a file, which is then ignored, like lines of other tasks or of a task
with the same id and other grids.
"""

import fcntl
import hashlib
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson

from solver.answers.outcome import LEAK_WARNING, Outcome
from solver.answers.votes import MOST_ROUNDS, MOST_VOTES, Block, Candidate, Votes
from solver.common.checks import Grid, InputError, parse_grid
from solver.common.files import file_name, open_to_append
from solver.tasks.task import DIGEST_LENGTH, Task

PATTERN = "votes-*.jsonl"
LONGEST_LINE = 2**28  # bytes; ours are far shorter

log = logging.getLogger("arc_trm")


class Journal:
    """Appends to its own file. Blocks that cannot be written (full disk) are kept and written with the next ones."""

    def __init__(self, folder: Path, tasks: Sequence[Task], leaks: bool = False, by: str | None = None) -> None:
        """Every line will say `leaks`, that the weights may have seen the test outputs, and `by` which ones it was."""
        self._more = ({"leaks": True} if leaks else {}) | ({"by": by} if by else {})
        self._digests = {task.id: _digest(task) for task in tasks}
        self.path = folder / f"votes-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self._waiting = b""
        self._torn: int | None = None  # where half a line of an earlier failure may begin

    def append(self, blocks: Sequence[Block]) -> None:
        """Write blocks and flush them to the disk. Raises OSError."""
        self._waiting += b"".join(self._line(block) for block in blocks)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            if self._torn is not None:
                file.truncate(self._torn)
            self._torn = file.seek(0, os.SEEK_END)  # readers are past whatever is there: leave it, even if it is broken
            file.write(self._waiting)
            file.flush()
            os.fsync(file.fileno())
        self._torn, self._waiting = None, b""

    def _line(self, block: Block) -> bytes:
        task_id, index = block.test
        candidates = [[_text(c.grid), c.votes, c.halting] for c in block.candidates]
        line = {"task": task_id, "of": self._digests[task_id], "test": index, "round": block.round}
        return orjson.dumps({**line, **self._more, "candidates": candidates}, option=orjson.OPT_APPEND_NEWLINE)


class JournalReader:
    """Reads the votes for some tasks that all processes have appended, each line once."""

    def __init__(self, folder: Path, tasks: Sequence[Task]) -> None:
        self._folder = folder
        self._tasks = {task.id: (_digest(task), len(task.test)) for task in tasks}
        self._read: dict[Path, int] = {}  # bytes that have been read, in whole lines
        self._warned: set[Path] = set()
        self.leaks = False  # whether any line read so far says so
        self.by: set[str] = set()  # what made the votes read so far, where it is known

    def new_blocks(self) -> Iterator[Block]:
        """The blocks that were added since the last call. Invalid lines are ignored.

        A file that cannot be read costs a warning, and is tried again at the next call.
        """
        for path in _files(self._folder):
            try:
                yield from self._blocks_of(path)
            except OSError as error:
                if path not in self._warned:
                    log.warning("%s: expected to read votes, got: %s; trying again", file_name(path), error.strerror)
                self._warned.add(path)

    def _blocks_of(self, path: Path) -> Iterator[Block]:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            for line in file:
                if not line.endswith(b"\n"):  # still being written, or cut off by a kill
                    break
                self._read[path] = self._read.get(path, 0) + len(line)
                block = self._block(line)
                if block is not None:
                    yield block

    def _block(self, line: bytes) -> Block | None:
        try:
            document = orjson.loads(line[:LONGEST_LINE])
            task_id, index, number = document["task"], document["test"], document["round"]
            digest, tests = self._tasks[task_id]
            if document["of"] != digest or type(index) is not int or type(number) is not int:
                return None
            if not (0 <= index < tests and 0 <= number < MOST_ROUNDS):
                return None
            candidates = []
            for rows, votes, halting in document["candidates"]:
                grid = parse_grid([[int(cell) for cell in row] for row in rows.split("/")], "journal")
                if type(votes) is not int or not 0 < votes <= MOST_VOTES or not 0 <= halting <= 1:
                    return None
                candidates.append(Candidate(grid, votes, float(halting)))
        except (InputError, ValueError, TypeError, KeyError, AttributeError):
            return None
        self.leaks |= document.get("leaks") is True
        if isinstance(by := document.get("by"), str):
            self.by.add(by)
        return Block((task_id, index), number, candidates)


def read_outcome(folder: Path, tasks: Sequence[Task]) -> tuple[Outcome, JournalReader]:
    """An outcome with all votes in a folder so far, of any process, and the reader that has read them."""
    reader, outcome = JournalReader(folder, tasks), Outcome(Votes(tasks))
    for block in reader.new_blocks():
        outcome.votes.add(block)
    if reader.leaks:
        outcome.notes.append(LEAK_WARNING)
    return outcome, reader


def clear_journal(folder: Path) -> None:
    """Delete all votes in a folder. Raises InputError if they cannot be deleted."""
    for path in _files(folder):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{file_name(path)}: expected to delete old votes, got: {error.strerror}") from None


def _files(folder: Path) -> list[Path]:
    """The files of votes in a folder; to open a pipe of such a name would block."""
    return sorted(path for path in folder.glob(PATTERN) if os.path.isfile(path))  # noqa: PTH113 (is_file may raise)


def _text(grid: Grid) -> str:
    return "/".join((row + ord("0")).tobytes().decode("ascii") for row in np.ascontiguousarray(grid))


def _digest(task: Task) -> str:
    """A digest of the demonstrations and test inputs."""
    parts = [task.digest, *(f"{pair.input.shape}{_text(pair.input)}" for pair in task.test)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:DIGEST_LENGTH]


class Busy(InputError):
    """Another run is using the folder."""


@contextmanager
def own_folder(folder: Path, name: str) -> Iterator[None]:
    """Lock a folder against other runs. Raises Busy if it is locked, InputError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open_to_append(folder / name)
    except OSError as error:
        raise InputError(f"{folder}: expected a folder to write to, got: {error.strerror}") from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy(f"{folder.parent}: expected a free folder, got one that another run is using") from None
        yield
