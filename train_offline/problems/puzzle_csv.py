"""The reader of the CSV files in which Sudoku-Extreme and Maze-Hard are published.

Letters: K puzzles, (H, W) their grid.
"""

import csv
import math
import stat
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from solver.common.checks import SHOWN, InputError, at_least, fault, one_line, shown
from solver.common.files import file_name
from train_offline.problems import maze, sudoku
from train_offline.problems.puzzles import Puzzles

HEADER = ["source", "question", "answer", "rating"]
_CHUNK = 1 << 15  # puzzles converted to tokens at a time
_MAX_LINE = 1 << 17  # bytes: more than any puzzle needs, and bounded so that a line without end cannot fill memory


@dataclass(frozen=True)
class Rule:
    """A condition on a question and its answer."""

    column: str  # the column that the error message names: "question" or "answer"
    expected: str  # completes "expected ..."
    holds: Callable[[np.ndarray, np.ndarray], np.ndarray]  # tokens (K, H, W) of both -> bool, (K,) or (K, H, W)


@dataclass(frozen=True)
class Notation:
    """How one kind of puzzle is written."""

    question: Mapping[str, int]  # allowed character (ASCII) -> token
    answer: Mapping[str, int]
    vocabulary: int
    side: int | None  # None: the side of the first puzzle
    rules: tuple[Rule, ...]


def read_sudokus(path: str | Path, limit: int | None = None, side: int = 9) -> Puzzles:
    """Sudokus as in Sudoku-Extreme: digits, and '.' or '0' for a blank. See `read_csv`.

    Every answer must be a solution of its question. Whether it is the only one is not checked.
    """
    sudoku.box_of(side)
    first, blank = sudoku.FIRST_DIGIT, sudoku.BLANK
    digits = {str(digit): digit + first - 1 for digit in range(1, side + 1)}
    rules = (
        Rule("answer", "the digit that the question gives", lambda q, a: (q == blank) | (q == a)),
        Rule("answer", "every digit once in each row, column and box", lambda q, a: sudoku.is_solution(a, side)),
    )
    return read_csv(path, Notation({".": blank, "0": blank, **digits}, digits, side + first, side, rules), limit)


def read_mazes(path: str | Path, limit: int | None = None) -> Puzzles:
    """Mazes as in Maze-Hard, all with the side of the first one. See `read_csv`.

    Every answer must be its question with a path of 'o' from S to G. Whether it is a shortest path is not checked.
    """
    question = {"#": maze.WALL, " ": maze.OPEN, "S": maze.START, "G": maze.GOAL}

    def only_the_path(answer: np.ndarray) -> np.ndarray:
        return np.where(answer == maze.OPEN, np.uint8(maze.WALL), answer)

    rules = (
        Rule("question", "one S and one G", lambda q, a: maze.has_ends(q)),
        Rule(
            "answer",
            "the question's, or 'o' for a space",
            lambda q, a: (q == a) | ((q == maze.OPEN) & (a == maze.PATH)),
        ),
        Rule("answer", "a path of 'o' from S to G", lambda q, a: maze.count_shortest_paths(only_the_path(a), 1) > 0),
    )
    return read_csv(path, Notation(question, {**question, "o": maze.PATH}, maze.VOCABULARY, None, rules), limit)


def read_csv(path: str | Path, notation: Notation, limit: int | None = None) -> Puzzles:
    """The first `limit` puzzles of a CSV file with the columns source, question, answer and rating, in file order.

    A puzzle is written row by row without separators. Source and rating are not used. Nothing after the last puzzle
    that is wanted is read. Raises InputError for the first fault: one line with file, line and column.
    """
    at_least("limit", limit, 1)
    name, side = file_name(path), notation.side
    inputs, labels = [], []
    with closing(_rows(path, name)) as lines:
        rows = islice(lines, limit)
        while chunk := list(islice(rows, _CHUNK)):
            side = side or _side(chunk[0], name)
            question = _tokens(chunk, "question", notation.question, side, name)
            answer = _tokens(chunk, "answer", notation.answer, side, name)
            for rule in notation.rules:
                _check(rule, chunk, question, answer, name)
            inputs.append(question)
            labels.append(answer)
    if not inputs:
        raise InputError(f"{name}: expected at least one puzzle, got none")
    return Puzzles(np.concatenate(inputs), np.concatenate(labels), notation.vocabulary)


@dataclass(frozen=True)
class _Row:
    line: int  # from 1; the last line if a quoted field spans several
    fields: list[str]  # as in HEADER

    def place(self, name: str, column: str) -> str:
        return f"{name}: line {self.line}, column {column}"


def _rows(path: str | Path, name: str) -> Generator[_Row, None, None]:
    """The rows below the header, without empty lines."""
    with _open(path, name) as file:
        reader = csv.reader(_lines(file, name), strict=True)
        try:
            header = next(reader, None)
            if header != HEADER:
                got = "an empty file" if header is None else shown(",".join(header))
                raise InputError(f"{name}: line 1: expected the header {','.join(HEADER)}, got {got}")
            for fields in reader:
                if len(fields) == len(HEADER):
                    yield _Row(reader.line_num, fields)
                elif fields:
                    raise InputError(f"{name}: line {reader.line_num}: expected 4 fields, got {len(fields)}")
        except csv.Error as error:
            raise InputError(f"{name}: line {reader.line_num}: expected CSV, got: {one_line(str(error))}") from None


def _open(path: str | Path, name: str) -> BinaryIO:
    try:
        if stat.S_ISREG(Path(path).stat().st_mode):  # opening a FIFO would block
            return Path(path).open("rb")
    except (OSError, ValueError) as error:  # ValueError: an impossible name, such as one with a zero byte
        reason = one_line(str(getattr(error, "strerror", None) or error))
        raise InputError(f"{name}: expected a readable file, got: {reason}") from None
    raise InputError(f"{name}: expected a regular file, got a folder, device, pipe or socket")


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    """The lines as text, decoded one by one so that an error can name the line."""
    number = 1
    try:
        while line := file.readline(_MAX_LINE + 1):
            if len(line) > _MAX_LINE:
                raise InputError(f"{name}: line {number}: expected at most {_MAX_LINE} bytes, got more")
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            number += 1
    except UnicodeDecodeError as error:
        place = f"byte 0x{error.object[error.start]:02x} at offset {error.start} of the line"
        raise InputError(f"{name}: line {number}: expected UTF-8 text, got {place}") from None
    except OSError as error:
        raise InputError(f"{name}: line {number}: expected a readable file, got: {error.strerror}") from None


def _side(row: _Row, name: str) -> int:
    side = math.isqrt(len(row.fields[1]))
    if not side or side**2 != len(row.fields[1]):
        where = row.place(name, "question")
        raise InputError(f"{where}: expected as many characters as a square has cells, got {len(row.fields[1])}")
    return side


def _tokens(rows: Sequence[_Row], column: str, table: Mapping[str, int], side: int, name: str) -> np.ndarray:
    """(K, side, side) uint8: the tokens of one column. Raises InputError for a wrong length or character."""
    texts = [row.fields[HEADER.index(column)] for row in rows]
    cells = side * side
    for row, text in zip(rows, texts, strict=True):
        if len(text) != cells:
            raise InputError(f"{row.place(name, column)}: expected {cells} characters, got {len(text)}")
    unknown = 255
    token_of = np.full(256, unknown, dtype=np.uint8)
    token_of[[ord(character) for character in table]] = list(table.values())
    codes = np.frombuffer(
        "".join(texts).encode("latin-1", "replace"), dtype=np.uint8
    )  # unknown characters become "?", which no alphabet has
    tokens = token_of[codes].reshape(len(rows), side, side)
    bad = tokens == unknown
    if bad.any():
        number, cell = divmod(int(bad.argmax()), cells)
        where = f"{rows[number].place(name, column)}, character {cell + 1}"
        raise fault(where, f"one of {''.join(table)!r}", texts[number][cell])
    return tokens


def _check(rule: Rule, rows: Sequence[_Row], question: np.ndarray, answer: np.ndarray, name: str) -> None:
    """Raise InputError for the first row that breaks the rule; a rule on cells names the character."""
    held = rule.holds(question, answer)
    if held.all():
        return
    number, cell = divmod(int(held.argmin()), held[0].size)
    where, text = rows[number].place(name, rule.column), rows[number].fields[HEADER.index(rule.column)]
    if held.ndim == 1:  # not shown(), which would strip the spaces of a maze
        got = repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")
        raise InputError(f"{where}: expected {rule.expected}, got {got}")
    raise fault(f"{where}, character {cell + 1}", rule.expected, text[cell])
