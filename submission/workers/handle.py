"""A worker as its supervisor sees it: a process that is listened to, found dead or silent, and started again."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import orjson

from submission.workers.job import Job

COMMAND = (sys.executable, "-m", "submission.workers.worker")
MOST_STARTS = 6  # of one worker: what dies so often will die again
PATIENCE = 5.0  # seconds for a killed process to be gone
LAST_WORDS = 300  # characters of a dead worker's log that are repeated

log = logging.getLogger("arc_trm")


def _close(pipe: IO[bytes] | None) -> None:
    """Close a pipe that nobody may be reading any more."""
    with contextlib.suppress(OSError):
        if pipe is not None:
            pipe.close()


def _environment(threads: int | None) -> dict[str, str]:
    """This process's environment, with this project where a child finds it, whatever the folder."""
    here = str(Path(__file__).parent.parent)
    few = {} if threads is None else dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
    paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    return few | os.environ | {"PYTHONPATH": paths}  # what the user has set stays


@dataclass
class Worker:
    """One process at a time, for one share of the tasks."""

    number: int
    job: Job
    log_file: Path
    silence: float  # seconds without a word after which it is taken to hang
    command: Sequence[str] = COMMAND
    threads: int | None = None  # of the CPU; None: as many as it takes for itself
    progress: dict[str, Any] = field(default_factory=dict)  # the latest beat
    notes: list[str] = field(default_factory=list)  # what whoever reads its score must know
    done: dict[str, Any] | None = None
    refused: dict[str, str] | None = None  # what was no good, and why
    starts: int = 0
    given_up: bool = False
    _process: subprocess.Popen[bytes] | None = None
    _heard: float = 0.0

    @property
    def name(self) -> str:
        """As the log calls it."""
        return f"worker {self.number} ({self.job.device})"

    @property
    def working(self) -> bool:
        """Whether anything is still to be expected of it."""
        return self.done is None and self.refused is None and not self.given_up

    def start(self) -> None:
        """Start the process; it is told its job and listened to from now on."""
        self.starts += 1
        self._heard = time.monotonic()
        with self.log_file.open("ab") as errors:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
            self._process = subprocess.Popen(self.command, env=_environment(self.threads), **pipes)  # type: ignore[call-overload]
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        assert self._process.stdin is not None, "asked for above"
        try:
            self._process.stdin.write(self.job.to_line())
            self._process.stdin.flush()
        except OSError:  # already dead: `look` finds it so
            pass

    def look(self, deadline: float) -> None:
        """See whether the process lives; start it again if not and there is time for it before `deadline`."""
        if not self.working or self._process is None:
            return
        code, silent = self._process.poll(), time.monotonic() - self._heard
        if code is None and silent < self.silence:
            return
        if code is None:
            reason = f"said nothing for {silent:.0f} s and was killed"
        else:
            reason = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            time.sleep(0.05)  # its last words may still be on their way
            if not self.working:
                return
        self._restart(reason, deadline)

    def start_over(self, **changed: Any) -> None:
        """Start with another job, since something of this one's is no good."""
        self.stop()
        self.job, self.refused = replace(self.job, **changed), None
        self.start()

    def stop(self) -> None:
        """Kill the process, if it lives; what it has put into the journal is safe."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # a process that hangs in a driver is left behind
                self._process.wait(PATIENCE)
            _close(self._process.stdin)

    def _restart(self, reason: str, deadline: float) -> None:
        self.stop()
        words = self._last_words()
        if self.starts >= MOST_STARTS or time.monotonic() > deadline:
            self.given_up = True
            log.error("%s %s; its tasks keep the votes they have%s", self.name, reason, words)
            return
        before = self.name
        if self.job.device != "cpu" and self.starts >= MOST_STARTS // 2:
            self.job = replace(self.job, device="cpu")
        log.error("%s %s; starting it again as %s, its votes are kept%s", before, reason, self.name, words)
        self.start()

    def _last_words(self) -> str:
        try:
            lines = self.log_file.read_bytes()[-LAST_WORDS:].decode(errors="replace").split("\n")
        except OSError:
            return ""
        return f" (its last words: {lines[-2].strip()})" if len(lines) > 1 else ""

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Note what the process says, until it says no more."""
        assert process.stdout is not None, "asked for at the start"
        with process.stdout:
            for line in process.stdout:
                self._heard = time.monotonic()
                try:
                    said = orjson.loads(line)
                except ValueError:  # torn by a kill, or a library that prints
                    continue
                if isinstance(said, dict):
                    self.progress = said.get("beat", self.progress)
                    self.notes = said.get("notes", self.notes)
                    self.refused = said.get("refused", self.refused)
                    self.done = said.get("done", self.done)
