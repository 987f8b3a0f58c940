"""The frame of every command line: exit codes, one line for each mistake, and screens that cannot be written."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from solver.common.checks import InputError, one_line
from solver.common.clock import INTERRUPTED
from solver.common.files import file_name


def run_command(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; 1 with one line on stderr for mistakes, 130 if interrupted.

    Output that cannot be written (a full disk, a closed pipe) does not end the command. If that was its result, on
    stdout, the exit code is 1. Characters that the screen's encoding lacks are written as backslash escapes.
    """
    out, screen = _Forgiving(sys.stdout), _Forgiving(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(screen):
        try:
            code = command()
        except InputError as error:
            code = _refused(str(error))
        except KeyboardInterrupt:
            print("stopped; the last complete files stay on the disk", file=sys.stderr)
            code = INTERRUPTED
        except OSError as error:  # a name that is too long, a folder without permission
            where = "a file" if error.filename is None else file_name(error.filename)
            code = _refused(f"{where}: expected to read or write it, got: {one_line(error.strerror or str(error))}")
        except (MemoryError, ImportError) as error:
            got = one_line(str(error)) or "too little memory"
            code = _refused(f"expected the packages that this needs, and room for them in memory, got: {got}")
        out.close_quietly()
        if out.fault is not None:
            code = _refused(f"standard output: expected to write, got: {out.fault.strerror}") if code == 0 else code
        screen.close_quietly()
    return code


def _refused(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


class _Forgiving:
    """A text stream whose failed writes are remembered and otherwise ignored."""

    def __init__(self, stream: TextIO | None) -> None:
        """None: a stream that was closed when Python started."""
        self._stream = stream
        self.fault: OSError | None = None
        with contextlib.suppress(AttributeError, ValueError):  # a notebook's stream has no encoding to set
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]

    def write(self, text: str) -> int:
        self._try(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(lambda stream: stream.flush())

    def close_quietly(self) -> None:
        """Flush. If that fails, send what is left nowhere, or Python will try again, and complain, when it ends."""
        self.flush()
        if self.fault is not None and self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def _try(self, use: Callable[[TextIO], object]) -> None:
        if self._stream is not None:
            try:
                use(self._stream)
            except OSError as error:
                self.fault = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
