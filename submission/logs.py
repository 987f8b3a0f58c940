"""Logging to the screen and to a file beside the submission; the entry point of `python -m submission.*`."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tyro

from solver.common.checks import InputError

FILE_NAME = "solve.log"


def run_command(command: Callable[..., int], module: str) -> int:
    """The command line of `python -m module`, logging to the screen. Exit code 0 done, 1 invalid input, 2 usage."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("arc_trm").setLevel(logging.INFO)
    try:
        return tyro.cli(command, prog=f"python -m {module}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


@contextmanager
def log_beside(submission: Path) -> Iterator[None]:
    """Also log to a file beside a submission, if it can be written."""
    root = logging.getLogger()
    try:
        submission.parent.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = logging.FileHandler(submission.parent / FILE_NAME, encoding="utf-8")
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
