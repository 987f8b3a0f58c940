"""Logging to the screen and to a file beside the submission; the entry point of `python -m submission.*`."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

import tyro

from solver.common import command_line
from solver.common.files import open_to_append

FILE_NAME = "solve.log"


class _FileHandler(logging.FileHandler):
    """Writes what it can: a full disk costs lines of the log, not the run."""

    def _open(self) -> TextIOWrapper:
        return TextIOWrapper(open_to_append(self.baseFilename), self.encoding, self.errors)

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class _Faults(logging.Handler):
    """Collects the texts of errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def run_command(command: Callable[..., int], module: str) -> int:
    """The command line of `python -m module`, logging to the screen; 1 invalid input, 2 usage, 130 interrupted."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("arc_trm").setLevel(logging.INFO)
    return command_line.run_command(lambda: tyro.cli(command, prog=f"python -m {module}"))


@contextmanager
def log_beside(submission: Path) -> Iterator[list[str]]:
    """Also log to a file beside a submission, if it can be written. Yields the list of the errors logged so far."""
    root, faults = logging.getLogger(), _Faults()
    handlers: list[logging.Handler] = [faults]
    with suppress(OSError):
        submission.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_FileHandler(submission.parent / FILE_NAME, encoding="utf-8", errors="backslashreplace"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))
        root.addHandler(handler)
    try:
        yield faults.texts
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
