"""Sets of square puzzles as tokens, and the reader of the CSV files that Sudoku-Extreme and Maze-Hard come in.

Letters: K puzzles, (H, W) their grid. Token 0 is padding in every vocabulary.
"""

import csv
import math
import stat
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np

from solver.common.checks import SHOWN, InputError, at_least, fault, one_line, shown
from solver.common.files import file_name

HEADER = ["source", "question", "answer", "rating"]

Augment: TypeAlias = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""(inputs (K, H, W), labels (K, H, W), generator) -> transformed copies of both, a random transformation a sample."""

Attempt: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Slots (n,) -> inputs (n, H, W), labels (n, H, W), usable (n,) bool: one try at a puzzle for each slot."""

_CHUNK = 1 << 15  # puzzles turned into tokens at a time
_MAX_LINE = 1 << 17  # bytes: more than any puzzle's line, less than what hurts
_ROUND = 1024  # puzzles attempted at a time
_PATIENCE = 2000  # attempts in a row that may all fail before a wish counts as impossible


@dataclass(frozen=True, eq=False)
class Puzzles:
    """K puzzles of one shape, each with its answer. Raises InputError where the fields do not fit each other."""

    inputs: np.ndarray  # (K, H, W) uint8 tokens, all below `vocabulary`
    labels: np.ndarray  # (K, H, W) uint8 tokens, likewise
    vocabulary: int

    def __post_init__(self) -> None:
        for name, tokens in (("inputs", self.inputs), ("labels", self.labels)):
            if tokens.ndim != 3 or tokens.dtype != np.uint8:
                got = f"{tokens.dtype} of shape {tokens.shape}"
                raise InputError(f"puzzles: {name}: expected uint8 tokens of shape (K, H, W), got {got}")
            if tokens.size and tokens.max() >= self.vocabulary:
                raise InputError(f"puzzles: {name}: expected tokens below {self.vocabulary}, got {tokens.max()}")
        if self.inputs.shape != self.labels.shape:
            raise InputError(f"puzzles: labels: expected shape {self.inputs.shape}, got {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.inputs)

    def at(self, index: np.ndarray | slice) -> "Puzzles":
        """Those puzzles, in that order; `index` is an integer or boolean array, or a slice."""
        return Puzzles(self.inputs[index], self.labels[index], self.vocabulary)


def row_keys(tokens: np.ndarray) -> np.ndarray:
    """(K,) byte strings, equal exactly where the grids (K, H, W) uint8 are."""
    length = math.prod(tokens.shape[1:])
    return np.ascontiguousarray(tokens).reshape(len(tokens), length).view(f"S{length}")[:, 0]


def draw_distinct(
    count: int, side: int, attempt: Attempt, what: Callable[[np.ndarray], str]
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels (count, side, side) of puzzles that all differ, from as many attempts as it takes.

    A slot whose attempt failed, or repeated an earlier question, is tried again. Raises InputError once 2000 attempts
    in a row have added nothing; it begins with `what` of the slots that are still empty.
    """
    at_least("count", count, 1)
    inputs, labels = np.zeros((2, count, side, side), dtype=np.uint8)
    waiting, seen, fruitless = np.arange(count), set[bytes](), 0
    while len(waiting):
        slots = waiting[:_ROUND]
        questions, answers, usable = attempt(slots)
        before = len(seen)
        for number in np.flatnonzero(usable):  # a set beats sorting all keys every round; making a puzzle costs more
            size = len(seen)
            seen.add(questions[number].tobytes())
            usable[number] = len(seen) > size
        inputs[slots[usable]], labels[slots[usable]] = questions[usable], answers[usable]
        fruitless = 0 if len(seen) > before else fruitless + len(slots)
        if fruitless >= _PATIENCE:
            expected = f"{len(waiting)} more, unlike the {len(seen)} found"
            raise InputError(f"{what(waiting)}: expected {expected}, got none in {fruitless} attempts")
        waiting = np.concatenate([waiting[len(slots) :], slots[~usable]])
    return inputs, labels


def split_families(
    puzzles: Puzzles, families: np.ndarray, test_count: int, generator: np.random.Generator
) -> tuple[Puzzles, Puzzles]:
    """(train, test), with no family (K,), a key for each puzzle, in both; `test_count` puzzles for the test.

    Whole families are drawn for the test; what exceeds `test_count` in the last one is in neither part.
    Raises InputError where that leaves nothing to train on, and where a question is in two families.
    """
    at_least("test-count", test_count, 1)
    _, family = np.unique(families, return_inverse=True)
    _, first, question = np.unique(row_keys(puzzles.inputs), return_index=True, return_inverse=True)
    if (family[first[question]] != family).any():
        raise InputError("split: expected one answer to every question, got two to the same one")
    rank = generator.permutation(family.max(initial=0) + 1)[family]  # (K,) of each puzzle's family, in random order
    chosen = np.argsort(rank, kind="stable")[:test_count]
    rest = np.flatnonzero(rank > rank[chosen].max(initial=-1))
    if len(chosen) < test_count or not len(rest):
        got = f"{len(puzzles)} of {family.max(initial=-1) + 1} families"
        raise InputError(f"split: expected puzzles for a test of {test_count} and some to train on, got {got}")
    return puzzles.at(rest), puzzles.at(chosen)


@dataclass(frozen=True)
class Rule:
    """What must hold between question and answer."""

    column: str  # the one to blame: "question" or "answer"
    expected: str  # completes "expected ..."
    holds: Callable[[np.ndarray, np.ndarray], np.ndarray]  # tokens (K, H, W) twice -> bool, (K,) or for each cell


@dataclass(frozen=True)
class Notation:
    """How one kind of puzzle is written in the published CSV files."""

    question: Mapping[str, int]  # the token of each character that may stand there, all of them ASCII
    answer: Mapping[str, int]
    vocabulary: int
    side: int | None  # None: that of the first puzzle
    rules: tuple[Rule, ...]


def read_csv(
    path: str | Path, notation: Notation, limit: int | None = None, minimum_rating: float | None = None
) -> Puzzles:
    """The puzzles of a CSV file with the columns source, question, answer and rating, in the file's order.

    A puzzle's rows of cells stand one after the other. At most `limit` are read, and what comes after them is not
    looked at. Only those rated `minimum_rating` or more are taken; without it ratings are not read.

    Raises InputError, one line with file, line and column, for the first fault of a part of the file.
    """
    at_least("limit", limit, 1)
    name, side = file_name(path), notation.side
    inputs, labels = [], []
    with closing(_rows(path, name)) as lines:
        chosen = (row for row in lines if minimum_rating is None or _rating(row, name) >= minimum_rating)
        rows = islice(chosen, limit)
        while chunk := list(islice(rows, _CHUNK)):
            side = side or _side(chunk[0], name)
            question = _tokens(chunk, "question", notation.question, side, name)
            answer = _tokens(chunk, "answer", notation.answer, side, name)
            for rule in notation.rules:
                _check(rule, chunk, question, answer, name)
            inputs.append(question)
            labels.append(answer)
    if not inputs:
        rated = "" if minimum_rating is None else f" rated {minimum_rating} or more"
        raise InputError(f"{name}: expected at least one puzzle{rated}, got none")
    return Puzzles(np.concatenate(inputs), np.concatenate(labels), notation.vocabulary)


@dataclass(frozen=True)
class _Row:
    line: int  # counted from 1; of a quoted field with line ends, the last
    fields: list[str]  # as in HEADER

    def place(self, name: str, column: str) -> str:
        return f"{name}: line {self.line}, column {column}"


def _rows(path: str | Path, name: str) -> Generator[_Row, None, None]:
    """The rows below the header; empty lines are passed over."""
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
        if stat.S_ISREG(Path(path).stat().st_mode):  # opening a FIFO would wait for ever
            return Path(path).open("rb")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have, such as one with a zero byte
        reason = one_line(str(getattr(error, "strerror", None) or error))
        raise InputError(f"{name}: expected a readable file, got: {reason}") from None
    raise InputError(f"{name}: expected a regular file, got a folder, device, pipe or socket")


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    """The lines as text. Decoded one by one, since a decoder that reads ahead could not say which line is bad."""
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


def _rating(row: _Row, name: str) -> float:
    try:
        rating = float(row.fields[3])
    except ValueError:
        rating = math.nan
    if not math.isfinite(rating):
        raise fault(row.place(name, "rating"), "a number", row.fields[3])
    return rating


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
    codes = np.frombuffer("".join(texts).encode("latin-1", "replace"), dtype=np.uint8)  # no alphabet has a "?"
    tokens = token_of[codes].reshape(len(rows), side, side)
    bad = tokens == unknown
    if bad.any():
        number, cell = divmod(int(bad.argmax()), cells)
        where = f"{rows[number].place(name, column)}, character {cell + 1}"
        raise fault(where, f"one of {''.join(table)!r}", texts[number][cell])
    return tokens


def _check(rule: Rule, rows: Sequence[_Row], question: np.ndarray, answer: np.ndarray, name: str) -> None:
    """Raise InputError for the first row that breaks the rule; it names the character where the rule is for cells."""
    held = rule.holds(question, answer)
    if held.all():
        return
    number, cell = divmod(int(held.argmin()), held[0].size)
    where, text = rows[number].place(name, rule.column), rows[number].fields[HEADER.index(rule.column)]
    if held.ndim == 1:  # the text by hand, for in a maze every space counts
        got = repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")
        raise InputError(f"{where}: expected {rule.expected}, got {got}")
    raise fault(f"{where}, character {cell + 1}", rule.expected, text[cell])
