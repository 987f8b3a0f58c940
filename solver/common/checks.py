"""Checks of untrusted input (grids, task ids, settings), and the error that they raise.

Every error is one line, "where: expected ..., got ...", short and without control characters. Places are written as in
JSON, counted from 0: `train[2].output[3][4]` is row 3, column 4.
"""

import math
import reprlib

import numpy as np
from numpy.typing import NDArray

from kernels.symmetry import COLOURS, MAX_SIDE


class InputError(Exception):
    """Invalid input, described in one line. Not a ValueError, which tyro would report as a usage error."""


Grid = NDArray[np.uint8]
"""(height, width), each 1..MAX_SIDE, cells 0..COLOURS - 1."""

MAX_ID = 255  # characters of a task id, the limit of a file name
SHOWN = 60  # characters of a bad value that a message quotes
VARIANT_SEPARATOR = "|||"  # between task id, symmetry and colours in the name of a variant


def one_line(text: str) -> str:
    """`text` with unprintable characters (line ends, escapes, lone surrogates) as backslash escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown(value: object) -> str:
    """A repr of at most SHOWN characters, in one line. Its cost does not grow with the size of the value."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict = 3, 6, 3
    short.maxstring = short.maxother = short.maxlong = SHOWN
    try:
        text = one_line(" ".join(short.repr(value).split()))
    except ValueError:  # Python refuses to print an integer of more than 4300 digits
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def fault(where: str, expected: str, got: object) -> InputError:
    """The error for a bad value `got` at `where`."""
    return InputError(f"{where}: expected {expected}, got {shown(got)}")


def parse_grid(value: object, where: str) -> Grid:
    """The grid in equally long lists of integers 0..9, or such a numpy array. 1.0 and True are refused.

    Raises InputError that begins with `where`. The work is at most MAX_SIDE squared, however large the value.
    """
    if isinstance(value, np.ndarray):
        value = value[: MAX_SIDE + 1].tolist() if value.ndim else value.item()
    if not isinstance(value, list):
        raise fault(where, "a grid (a list of rows)", value)
    if not 1 <= len(value) <= MAX_SIDE:
        raise InputError(f"{where}: expected 1 to {MAX_SIDE} rows, got {len(value)} rows")
    width = len(value[0]) if isinstance(value[0], list) else 0
    for index, row in enumerate(value):
        if not _is_row(row, width):
            raise _row_fault(row, width, f"{where}[{index}]")
    cells = np.frombuffer(b"".join(map(bytes, value)), dtype=np.uint8)  # (height * width,)
    return cells.reshape(len(value), width)


def _is_row(row: object, width: int) -> bool:
    """Whether `row` is valid. The fast path, a few C loops per row; `_row_fault` then finds what is wrong."""
    if not isinstance(row, list) or len(row) != width or not 1 <= width <= MAX_SIDE:
        return False
    return set(map(type, row)) == {int} and min(row) >= 0 and max(row) < COLOURS


def _row_fault(row: object, width: int, where: str) -> InputError:
    if not isinstance(row, list):
        return fault(where, "a row (a list of cells)", row)
    if not 1 <= width <= MAX_SIDE:  # can only happen at row 0
        return InputError(f"{where}: expected a row of 1 to {MAX_SIDE} cells, got {len(row)} cells")
    if len(row) != width:
        return InputError(f"{where}: expected a row of {width} cells, as in row 0, got {len(row)} cells")
    column = next(c for c, cell in enumerate(row) if not _is_row([cell], 1))
    return fault(f"{where}[{column}]", f"an integer 0..{COLOURS - 1}", row[column])


def at_least(name: str, value: int | None, least: int) -> None:
    """Raise InputError if `value`, of the setting `name`, is below `least`. None passes."""
    if value is not None and value < least:
        raise InputError(f"{name.replace('_', '-')}: expected {least} or more, got {shown(value)}")


def within(name: str, value: float | None, least: float, most: float = math.inf) -> None:
    """Raise InputError if `value`, of the setting `name`, is outside [least, most] or NaN. None passes."""
    if value is not None and not least <= value <= most:
        wanted = f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"
        got = shown(value) if abs(value) > 2**64 else f"{value:g}"  # more than a float may hold
        raise InputError(f"{name.replace('_', '-')}: expected {wanted}, got {got}")


def check_id(task_id: object, where: str) -> str:
    """`task_id`, if it is a non-empty printable string that can be part of a variant's name. Raises InputError."""
    if not isinstance(task_id, str) or not task_id or not task_id.isprintable():
        raise fault(where, "a task id (a non-empty string of printable characters)", task_id)
    if len(task_id) > MAX_ID:  # a thousand variants per task repeat it in their names
        raise InputError(f"{where}: expected a task id of at most {MAX_ID} characters, got {len(task_id)} characters")
    if VARIANT_SEPARATOR in task_id:
        raise fault(where, f"a task id without {VARIANT_SEPARATOR!r}", task_id)
    return task_id
