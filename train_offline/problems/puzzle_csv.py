"""The reader of the CSV files in which Sudoku-Extreme and Maze-Hard are published.

Letters: K puzzles, (H, W) their grid.
"""

import csv
import math
import stat
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

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

    def marked(question: np.ndarray, answer: np.ndarray) -> np.ndarray:
        return (question == answer) | ((question == maze.OPEN) & (answer == maze.PATH))

    def connected(question: np.ndarray, answer: np.ndarray) -> np.ndarray:
        only_the_path = np.where(answer == maze.OPEN, np.uint8(maze.WALL), answer)
        return maze.count_shortest_paths(only_the_path, 1) > 0

    rules = (
        Rule("question", "one S and one G", lambda q, a: maze.has_ends(q)),
        Rule("answer", "the question's, or 'o' for a space", marked),
        Rule("answer", "a path of 'o' from S to G", connected),
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
            if side is None:
                line, (_, first, *_) = chunk[0]
                side = math.isqrt(len(first))
                if not side or side**2 != len(first):
                    wanted = "as many characters as a square has cells"
                    raise InputError(f"{name}: line {line}, column question: expected {wanted}, got {len(first)}")
            question = _tokens(chunk, "question", notation.question, side, name)
            answer = _tokens(chunk, "answer", notation.answer, side, name)
            for rule in notation.rules:
                _check(rule, chunk, question, answer, name)
            inputs.append(question)
            labels.append(answer)
    if not inputs:
        raise InputError(f"{name}: expected at least one puzzle, got none")
    return Puzzles(np.concatenate(inputs), np.concatenate(labels), notation.vocabulary)


Row = tuple[
    int, list[str]
]  # line number, from 1 (the last one if a quoted field spans several), and fields as in HEADER


def _rows(path: str | Path, name: str) -> Generator[Row, None, None]:
    """The rows below the header, without empty lines."""
    with closing(_lines(path, name)) as lines:
        reader = csv.reader(lines, strict=True)
        try:
            header = next(reader, None)
            if header != HEADER:
                got = "an empty file" if header is None else shown(",".join(header))
                raise InputError(f"{name}: line 1: expected the header {','.join(HEADER)}, got {got}")
            for fields in reader:
                if len(fields) == len(HEADER):
                    yield reader.line_num, fields
                elif fields:
                    raise InputError(f"{name}: line {reader.line_num}: expected 4 fields, got {len(fields)}")
        except csv.Error as error:
            raise InputError(f"{name}: line {reader.line_num}: expected CSV, got: {one_line(str(error))}") from None


def _lines(path: str | Path, name: str) -> Generator[str, None, None]:
    """The lines as text, decoded one by one so that an error can name the line."""
    number = 0
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # opening a FIFO would block
            raise InputError(f"{name}: expected a regular file, got a folder, device, pipe or socket")
        with Path(path).open("rb") as file:
            while line := file.readline(_MAX_LINE + 1):
                number += 1
                if len(line) > _MAX_LINE:
                    raise InputError(f"{name}: line {number}: expected at most {_MAX_LINE} bytes, got more")
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        place = f"byte 0x{error.object[error.start]:02x} at offset {error.start} of the line"
        raise InputError(f"{name}: line {number}: expected UTF-8 text, got {place}") from None
    except (OSError, ValueError) as error:  # ValueError: an impossible name, such as one with a zero byte
        where = f"line {number + 1}: " if number else ""
        reason = one_line(str(getattr(error, "strerror", None) or error))
        raise InputError(f"{name}: {where}expected a readable file, got: {reason}") from None


def _tokens(rows: Sequence[Row], column: str, table: Mapping[str, int], side: int, name: str) -> np.ndarray:
    """(K, side, side) uint8: the tokens of one column. Raises InputError for a wrong length or character."""
    texts = [fields[HEADER.index(column)] for _, fields in rows]
    cells = side * side
    for (line, _), text in zip(rows, texts, strict=True):
        if len(text) != cells:
            raise InputError(f"{name}: line {line}, column {column}: expected {cells} characters, got {len(text)}")
    unknown = 255
    token_of = np.full(256, unknown, dtype=np.uint8)
    token_of[[ord(character) for character in table]] = list(table.values())
    # characters beyond Latin-1 become "?", which no alphabet has
    codes = np.frombuffer("".join(texts).encode("latin-1", "replace"), dtype=np.uint8)
    tokens = token_of[codes].reshape(len(rows), side, side)
    bad = tokens == unknown
    if bad.any():
        number, cell = divmod(int(bad.argmax()), cells)
        where = f"{name}: line {rows[number][0]}, column {column}, character {cell + 1}"
        raise fault(where, f"one of {''.join(table)!r}", texts[number][cell])
    return tokens


def _check(rule: Rule, rows: Sequence[Row], question: np.ndarray, answer: np.ndarray, name: str) -> None:
    """Raise InputError for the first row that breaks the rule; a rule on cells names the character."""
    held = rule.holds(question, answer)
    if held.all():
        return
    number, cell = divmod(int(held.argmin()), held[0].size)
    line, fields = rows[number]
    where, text = f"{name}: line {line}, column {rule.column}", fields[HEADER.index(rule.column)]
    if held.ndim == 1:  # not shown(), which would strip the spaces of a maze
        got = repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")
        raise InputError(f"{where}: expected {rule.expected}, got {got}")
    raise fault(f"{where}, character {cell + 1}", rule.expected, text[cell])
