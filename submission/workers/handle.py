"""The supervisor's side of a worker: start the process, read its messages, restart it when it dies or goes silent."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from solver.common.checks import one_line
from solver.common.files import open_to_append
from submission.workers.job import Job

COMMAND = (sys.executable, "-m", "submission.workers.worker")
MOST_STARTS = 6  # of a worker, one after the other, that bring no vote; after them it is given up
PATIENCE = 5.0  # seconds to wait for a killed process to exit, and before starting again what could not be started
LOADING = 120.0  # seconds; the first import of torch from a cold disk takes more than a minute
LAST_WORDS = 300  # bytes at the end of a dead worker's log that the message quotes

log = logging.getLogger("arc_trm")


def _environment(threads: int | None) -> dict[str, str]:
    """This process's environment, with the project on PYTHONPATH. Thread counts that the user has set are kept."""
    counts = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads)) if threads else {}
    paths = filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])
    return counts | os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


@dataclass
class WorkerHandle:
    """A worker: one process at a time, for one share of the tasks."""

    number: int
    job: Job
    log_file: Path
    silence: float  # seconds without a message after which it counts as hung, once it has reported progress
    command: Sequence[str] = COMMAND
    threads: int | None = None  # CPU threads; None: the libraries' default
    progress: dict[str, Any] = field(default_factory=dict)  # the latest beat
    notes: list[str] = field(default_factory=list)  # caveats for readers of the score
    done: dict[str, Any] | None = None  # its final message
    refused: dict[str, str] | None = None  # {"weights" or "device": reason}
    starts: int = 0  # since it last brought votes
    given_up: bool = False
    _process: subprocess.Popen[bytes] | None = None
    _listener: threading.Thread | None = None  # sends its job, reads its messages
    _heard: float = 0.0
    _votes: int = 0  # the most it has reported
    _spoke: bool = False  # whether this process has reported progress yet
    _fault: str = ""  # why the process could not be started

    @property
    def name(self) -> str:
        """Its name in the log."""
        return f"worker {self.number} ({self.job.device})"

    @property
    def working(self) -> bool:
        """Whether more votes may come from it."""
        return self.done is None and self.refused is None and not self.given_up

    def start(self) -> None:
        """Start the process, send it its job, and read its messages from now on. If that fails, `look` tries again."""
        self.starts += 1
        self._heard, self._spoke = time.monotonic(), False
        try:
            self._process = self._open()
            self._listener = threading.Thread(target=self._talk, args=(self._process, self.job), daemon=True)
            self._listener.start()
        except (OSError, RuntimeError) as error:  # no memory, no more processes, files or threads
            self.stop()
            self._process, self._fault = None, one_line(str(error))
            return

    def _open(self) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as stack:
            errors: Any = subprocess.DEVNULL  # without a log it works as well
            with contextlib.suppress(OSError):
                errors = stack.enter_context(open_to_append(self.log_file))
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
            return subprocess.Popen(self.command, env=_environment(self.threads), **pipes)

    def look(self, deadline: float) -> None:
        """Restart the process if it is dead or silent; give it up after `deadline` or MOST_STARTS vain starts."""
        if not self.working or not self.starts:
            return
        silent = time.monotonic() - self._heard
        if self._process is None:
            if silent < PATIENCE:
                return
            reason = f"could not be started ({self._fault})"
        elif (code := self._process.poll()) is not None:
            reason = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            if self._listener:
                self._listener.join(PATIENCE)  # its last messages may not have been read yet
            if not self.working:
                return
        else:
            if silent < self._patience:
                return
            reason = f"said nothing for {silent:.0f} s and was killed"
        self.stop()
        if self.progress.get("votes", 0) > self._votes:
            self._votes, self.starts = self.progress["votes"], 0
        before, words = self.name, ""
        with contextlib.suppress(OSError):
            lines = self.log_file.read_bytes()[-LAST_WORDS:].decode(errors="replace").split("\n")
            words = f" (its last words: {lines[-2].strip()})" if len(lines) > 1 else ""
        if self.starts >= MOST_STARTS or time.monotonic() > deadline:
            self.given_up = True
            log.error("%s %s; its tasks keep the votes they have%s", before, reason, words)
            return
        if self.starts >= MOST_STARTS // 2:
            self.job = replace(self.job, device="cpu")
        log.error("%s %s; starting it again as %s, its votes are kept%s", before, reason, self.name, words)
        self.start()

    @property
    def _patience(self) -> float:
        """Seconds of silence that are allowed: more before the first progress, twice as many after a vain start."""
        return (self.silence if self._spoke else max(self.silence, LOADING)) * 2 ** (self.starts - 1)

    def start_over(self, **changed: Any) -> None:
        """Restart with these fields of the job changed, after the worker refused it."""
        self.stop()
        self.job, self.refused = replace(self.job, **changed), None
        self.start()

    def stop(self) -> None:
        """Kill the process if it is alive. Votes in the journal are safe."""
        if self._process is not None:
            self._process.kill()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:  # stuck in a driver: leave it behind
                return
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):  # unsent bytes for a dead process
                    self._process.stdin.close()

    def _talk(self, process: subprocess.Popen[bytes], job: Job) -> None:
        """Send the process its job, which a pipe may not hold at once, and read messages until its output ends."""
        assert process.stdin is not None, "asked for at the start"
        assert process.stdout is not None, "asked for at the start"
        with contextlib.suppress(OSError):  # already dead: `look` will notice
            process.stdin.write(json.dumps(vars(job)).encode() + b"\n")  # paths may be no Unicode
            process.stdin.flush()
        with process.stdout:
            for line in process.stdout:
                self._heard = time.monotonic()
                try:
                    said = orjson.loads(line)
                except ValueError:  # cut off by a kill, or printed by a library
                    continue
                if isinstance(said, dict):
                    self.progress = said.get("beat", self.progress)
                    self._spoke |= "beat" in said
                    self.notes = said.get("notes", self.notes)
                    self.refused = said.get("refused", self.refused)
                    self.done = said.get("done", self.done)
