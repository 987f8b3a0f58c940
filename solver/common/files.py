"""Read untrusted JSON, and write files atomically."""

import contextlib
import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import BinaryIO

from solver.common.checks import InputError, one_line, shown

MAX_BYTES = 64 * 2**20  # of a JSON file; all of ARC-AGI-2 is less than a tenth of it
MAX_PARTS = 2**22
"""Most opening brackets and quotation marks in a JSON file. Small lists and strings take the most memory per byte: 64
MiB of `[],` would become 1.5 GB. Grids reach this limit before MAX_BYTES only if rows have fewer than about 8 cells."""


LEFT_OVER = 60.0  # seconds after which a temporary file that is not written to belongs to a write that was killed


def file_name(path: str | Path) -> str:
    """`path` for messages, in one line."""
    return one_line(os.fspath(path))


def read_json(path: str | Path, most: int | None = None) -> object:
    """The document in a JSON file (UTF-8, with or without a byte order mark).

    Raises InputError, which begins with the file's name, if it is not a regular file, if it is larger than `most` bytes
    (None: MAX_BYTES, and MAX_PARTS applies), or if it is not standard JSON: NaN and duplicate keys are refused.
    """
    name = file_name(path)
    data = _read(path, name, MAX_BYTES if most is None else most)
    if most is None:  # count before parsing; quotation marks inside strings count too, but files of grids have few
        parts = sum(map(data.count, (b"[", b"{", b'"')))
        if parts > MAX_PARTS:
            raise InputError(f"{name}: expected at most {MAX_PARTS} lists, objects and quotation marks, got {parts}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"byte 0x{error.object[error.start]:02x} at offset {error.start}"
        raise InputError(f"{name}: expected UTF-8 text, got {place}") from None
    del data
    if not text or text.isspace():  # strip() would copy up to 256 MB
        raise InputError(f"{name}: expected a JSON document, got an empty file")
    try:
        # Not orjson: it silently keeps the last value of a duplicate key, which would lose a task.
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{name}: {where}: expected JSON, got a syntax error ({one_line(error.msg)})") from None
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except RecursionError:
        raise InputError(f"{name}: expected lists a few levels deep, got far too many levels") from None
    except ValueError:  # Python's limit on the digits of an integer
        raise InputError(f"{name}: expected integers of a few digits, got one of thousands of digits") from None


def _read(path: str | Path, name: str, most: int) -> bytes:
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:  # ValueError: an impossible name, as with a zero byte
        raise InputError(f"{name}: expected a file, got: {_reason(error)}") from None
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would block
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
        raise InputError(f"{name}: expected a regular file, got {kind}")
    try:
        with Path(path).open("rb") as file:
            # One byte more than allowed, since the file may have grown after `stat`.
            data = b"" if status.st_size > most else file.read(most + 1)
    except OSError as error:
        raise InputError(f"{name}: expected a readable file, got: {_reason(error)}") from None
    size = max(status.st_size, len(data))
    if size > most:
        raise InputError(f"{name}: expected a file of at most {most >> 20} MiB, got {size / 2**20:.1f} MiB")
    return data


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise InputError(f"expected every key of an object once, got {shown(twice)} twice")
    return result


def _refuse_constant(constant: str) -> object:
    raise InputError(f"expected standard JSON, got {constant}")


def _reason(error: Exception) -> str:
    return one_line(str(getattr(error, "strerror", None) or error))


@cache
def code_digest() -> str:
    """A digest of the sources that decide what a run computes, to notice a run that other code continues."""
    state, root = hashlib.sha256(), Path(__file__).parents[2]
    for folder in ("kernels", "solver", "train_offline"):
        for path in sorted((root / folder).rglob("*.py")):
            state.update(path.read_bytes())
    return state.hexdigest()[:16]


def open_to_append(path: str | Path) -> BinaryIO:
    """Open a file to append to, or make it. Never waits, as for a pipe that nobody reads. Raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o666), "ab")


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, creating its folder. A crash or InputError leaves the old file complete."""
    write_atomically_with(path, lambda temporary: temporary.write_bytes(data), f"{len(data)} bytes")


def write_atomically_with(path: str | Path, write: Callable[[Path], object], what: str) -> None:
    """As `write_atomically`, for data too large to hold in memory twice: `write` gets the path of the temporary file.

    OSError, ValueError and RuntimeError (torch's) of `write` become InputError. `what` names the data in messages.
    """
    try:
        _replace(Path(os.path.realpath(path)), write)  # realpath: replace the target of a link, not the link
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{file_name(path)}: expected to write {what}, got: {_reason(error)}") from error


def _replace(target: Path, write: Callable[[Path], object]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not target.is_file():  # --out /dev/null must not replace the device
        raise FileExistsError("a folder or device of that name")
    temporary = target.with_name(f".{target.name[:32]}.{os.urandom(8).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            status = os.fstat(file.fileno())
        _remove_leftovers(temporary, status.st_mtime - LEFT_OVER)
        write(temporary)
        if temporary.stat().st_mode != status.st_mode:  # safetensors creates a file that only its owner may read
            temporary.chmod(status.st_mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:  # interrupts as well
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # flush the new name too; some file systems cannot, but the file is complete
        handle = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_leftovers(temporary: Path, before: float) -> None:
    """Delete the temporary files of the same target that killed writes have left: those not written to since then."""
    start = temporary.name[: -len("0123456789abcdef.tmp")]
    for path in temporary.parent.iterdir():
        if path.name.startswith(start) and path.suffix == ".tmp":
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
