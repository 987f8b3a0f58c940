"""The functions that the submission notebook calls. Standard library only: the wheels are not installed yet."""

import html
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LOCK = "requirements.lock"
CODE = Path(__file__).parent.parent
STARTED = time.monotonic()


class Page:
    """A web page that a notebook shows in a frame, so that their styles do not mix."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{html.escape(self.text)}" style="width:100%;height:48rem;border:0"></iframe>'


def install_wheels(root: Path) -> None:
    """Install the attached wheels without network. Raises RuntimeError if pip fails, except in the scored run.

    Nothing else is installed or replaced: the lock lists every package, and what the image has stays as it is.
    """
    locks = sorted((root / "input").glob(f"**/{LOCK}"))
    if not locks:
        print("no wheels attached: the image has to have everything")
        return
    begun = time.monotonic()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps"]
    # --no-compile: compiling all of torch would take half a minute
    command += ["--no-compile", "--find-links", str(locks[0].parent), "--requirement", str(locks[0])]
    if _stream(command, dict(os.environ)):
        words = f"wheels: expected pip to install {locks[0]}, got the error above"
        if not os.environ.get("KAGGLE_IS_COMPETITION_RERUN"):
            raise RuntimeError(words)
        print(f"{words}; going on, the image may have what is needed")
        return
    print(f"installed, in {time.monotonic() - begun:.0f} s:", ", ".join(locks[0].read_text().split()))


def preflight(root: Path, options: Sequence[str] = ()) -> None:
    """Print what the machine has and what `run` with these options will do. A fault here does not stop the notebook."""
    print(f"time: {(time.monotonic() - STARTED) / 60:.1f} minutes since the notebook began")
    _kaggle(root, ["--preflight", *options])


def run(root: Path, options: Sequence[str] = ()) -> None:
    """Run `python -m submission.kaggle`, which writes to ROOT/working, and print its output.

    Raises RuntimeError if it fails; in the scored run, where that scores nothing, only if there is no submission.
    """
    working = root / "working"
    code = _kaggle(root, options)
    if code:
        words = f"submission.kaggle: expected exit code 0, got {code}"
        if not os.environ.get("KAGGLE_IS_COMPETITION_RERUN") or not (working / "submission.json").is_file():
            raise RuntimeError(words)
        print(f"{words}; the submission that is there stays")


def show_report(root: Path) -> Page | None:
    """The report of the rehearsal; None in the scored run."""
    page = root / "working" / "rehearsal" / "report.html"
    return Page(page.read_text(encoding="utf-8")) if page.is_file() else None


def _kaggle(root: Path, options: Sequence[str]) -> int:
    paths = os.pathsep.join([str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"KAGGLE_ROOT": str(root), "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}
    return _stream([sys.executable, "-m", "submission.kaggle", *options], environment, root / "working")


def _stream(command: Sequence[str], environment: dict[str, str], folder: Path | None = None) -> int:
    """Run a command, print its output and errors line by line, and return its exit code."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with subprocess.Popen(command, env=environment, cwd=folder, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout is not None, "asked for above"
        for line in process.stdout:
            print(line, end="", flush=True)
    return process.returncode
