"""Reading JSON that strangers wrote, and writing files that are never half there."""

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from solver.common.checks import InputError, one_line, shown

MAX_BYTES = 64 * 2**20
"""Largest JSON file that is read; all of ARC-AGI-2 is below a tenth of it."""

MAX_PARTS = 2**22
"""Most opening brackets and quotation marks in such a file, since lists and strings are what takes memory when they are
small: 64 MiB of `[],` would become 1.5 GB. It binds only where rows have less than some 8 cells on average."""


def file_name(path: str | Path) -> str:
    """`path` as messages write it: on one line, whatever characters the name holds."""
    return one_line(os.fspath(path))


class _Refused(ValueError):
    """Valid JSON to Python's parser, but not to us. Carries 'expected ..., got ...'."""


def read_json(path: str | Path, most: int | None = None) -> object:
    """The document in a JSON file (UTF-8, with or without a byte order mark).

    Raises InputError, one line that begins with the file's name, when there is no such regular file, when it is larger
    than `most` bytes (None: MAX_BYTES, and MAX_PARTS as well), and for anything that is not standard JSON, which
    includes NaN and an object with one key twice.
    """
    name = file_name(path)
    text = _read_text(path, name, most)
    if not text or text.isspace():  # strip() would copy it, which at four bytes a character can take 256 MB
        raise InputError(f"{name}: expected a JSON document, got an empty file")
    try:
        # Not orjson: of a key that an object holds twice it silently keeps the last value, and so hides a lost task.
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{name}: {where}: expected JSON, got a syntax error ({one_line(error.msg)})") from None
    except _Refused as error:
        raise InputError(f"{name}: {error}") from None
    except RecursionError:
        raise InputError(f"{name}: expected lists a few levels deep, got far too many levels") from None
    except ValueError:  # the only other one: Python's limit on the digits of an integer
        raise InputError(f"{name}: expected integers of a few digits, got one of thousands of digits") from None


def _read_text(path: str | Path, name: str, most: int | None) -> str:
    data = _read(path, name, MAX_BYTES if most is None else most)
    if most is None:
        # Before the parser sees it. What stands inside strings is counted too: no file of grids has so many there.
        parts = sum(map(data.count, (b"[", b"{", b'"')))
        if parts > MAX_PARTS:
            raise InputError(f"{name}: expected at most {MAX_PARTS} lists, objects and quotation marks, got {parts}")
    return _decode(data, name)


def _read(path: str | Path, name: str, most: int) -> bytes:
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have, such as one with a zero byte
        raise InputError(f"{name}: expected a file, got: {_reason(error)}") from None
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
        raise InputError(f"{name}: expected a regular file, got {kind}")
    try:
        with Path(path).open("rb") as file:
            # One byte too many is asked for, since the size in `status` is only a promise.
            data = b"" if status.st_size > most else file.read(most + 1)
    except OSError as error:
        raise InputError(f"{name}: expected a readable file, got: {_reason(error)}") from None
    size = max(status.st_size, len(data))
    if size > most:
        raise InputError(f"{name}: expected a file of at most {most >> 20} MiB, got {size / 2**20:.1f} MiB")
    return data


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"byte 0x{error.object[error.start]:02x} at offset {error.start}"
        raise InputError(f"{name}: expected UTF-8 text, got {place}") from None


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"expected every key of an object once, got {shown(twice)} twice")
    return result


def _refuse_constant(constant: str) -> object:
    raise _Refused(f"expected standard JSON, got {constant}")


def _reason(error: Exception) -> str:
    return one_line(str(getattr(error, "strerror", None) or error))


def write_atomically(path: str | Path, data: bytes) -> None:
    """Make `path` hold `data`, with its folder if there is none; a reader, or a crash, sees the old bytes or the new.

    The new bytes go to a temporary file beside it, reach the disk, and then take the name. On failure the old file is
    as it was, the temporary file is gone and InputError tells the reason (disk full, no permission, ...) in one line.
    """
    write_atomically_with(path, lambda temporary: temporary.write_bytes(data), f"{len(data)} bytes")


def write_atomically_with(path: str | Path, write: Callable[[Path], object], what: str) -> None:
    """As `write_atomically`, for what is too large to be made in memory: `write` fills the file that it is given.

    `write` raises OSError, ValueError or RuntimeError (torch's own) when it cannot; `what` is what messages call it.
    """
    try:
        # Of a link, the file it points to is replaced and not the link.
        _replace(Path(os.path.realpath(path)), write)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{file_name(path)}: expected to write {what}, got: {_reason(error)}") from error


def _replace(target: Path, write: Callable[[Path], object]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not target.is_file():  # or --out /dev/null would turn /dev/null into a file
        raise FileExistsError("a folder or device of that name")
    temporary = target.with_name(f".{target.name[:32]}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode
        write(temporary)
        if temporary.stat().st_mode != mode:  # safetensors puts a file there that nobody but its owner may read
            temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:  # the wall clock's interrupt as well
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut. Some file systems cannot; the file is whole either way."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
