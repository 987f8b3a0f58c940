"""What a run says while it works: on the screen, and in a file beside its submission."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tyro

from solver.common.checks import InputError

FILE_NAME = "solve.log"


def start_log() -> None:
    """Send what is worth knowing to the screen."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("arc_trm").setLevel(logging.INFO)


def run_command(command: Callable[..., int], module: str) -> int:
    """`command` as the command line of `python -m module`: 0 done, 1 invalid input, said in one line, 2 usage."""
    try:
        return tyro.cli(command, prog=f"python -m {module}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


@contextmanager
def log_beside(submission: Path) -> Iterator[None]:
    """Send the log to a file beside a submission as well; where that cannot be written, to the screen alone."""
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
