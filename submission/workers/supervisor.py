"""A run over all devices of a machine: start workers, watch and restart them, write their votes as a submission.

The supervisor imports no torch and computes nothing itself, so that failures happen in workers. The submission on disk
is valid at all times; at the deadline it holds the answers with the most votes.
"""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solver.answers import candidates_json
from solver.answers.attempts import answers_of
from solver.answers.journal import JournalReader, clear_journal, own_folder
from solver.answers.outcome import LEAK_WARNING, STOPPED, Outcome
from solver.answers.run_json import FILE_NAME, write_record
from solver.answers.votes import Votes
from solver.common.checks import InputError
from solver.common.clock import Clock, format_duration, stop_signals
from solver.common.files import write_atomically
from solver.tasks.task import to_challenge
from submission.challenges import Challenges
from submission.workers.handle import COMMAND, WorkerHandle
from submission.workers.job import Job, share_tasks

LOOK = 0.1  # seconds between checks of the workers
ONE_SIGNAL = 2.0  # seconds in which further signals count as the first
WRITE_EVERY = 2.0  # seconds between writes of the submission, while votes come in
LEAST_SILENCE = 20.0  # seconds; compiling takes several

log = logging.getLogger("arc_trm")


@dataclass(frozen=True)
class Plan:
    """The settings of a supervised run."""

    challenges: Challenges
    source: str  # its name in run.json
    out: Path  # the submission; the journal and the logs go into the same folder
    options: dict[str, Any]  # SolveOptions
    devices: Sequence[str]  # one worker per device
    weights: Sequence[Path] = ()  # best first; the next ones are for a forgiving run
    forgiving: bool = False  # replace unusable weights by the next or a fresh model, and an unusable card by the CPU
    candidates: int | None = None  # per test output in candidates.json; None: do not write it
    silence: float | None = None  # seconds without a message before a worker counts as hung; None: from the budget
    command: Sequence[str] = COMMAND  # starts a worker
    anew: bool = False  # delete the votes of earlier runs in the folder
    rank: int = 0  # under torchrun: ranks share the tasks, rank 0 writes the files
    ranks: int = 1

    @property
    def journal(self) -> Path:
        """The folder of votes."""
        return lock_of(self.out)[0]


class Supervisor:
    """Runs a plan within a clock. Raises InputError if files cannot be written or a worker refuses its weights."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self.plan, self.clock = plan, clock
        self.workers: list[WorkerHandle] = []
        self._tasks, self._votes = plan.challenges.tasks, Votes(plan.challenges.tasks)
        self._reader = JournalReader(plan.journal, self._tasks)
        self._reserve = reserve(clock.limit)
        self._deadline = time.monotonic() + clock.left() - self._reserve
        self._written = self._reported = time.monotonic()
        self._unwritten = False

    def run(self) -> Outcome:
        """Solve until the workers are done, the time is up or a signal comes; then write the files."""
        with own_folder(*lock_of(self.plan.out, self.plan.rank)):
            self._mark(self.plan.rank).unlink(missing_ok=True)  # of an earlier run
            if self.plan.rank == 0:
                with contextlib.suppress(OSError):  # a folder of that name, say: then there will be no record
                    (self.plan.out.parent / FILE_NAME).unlink()  # of an earlier run
                if self.plan.anew:
                    clear_journal(self.plan.journal)
                    clear_fitted(self.plan.journal)
            for fault in self.plan.challenges.faults:
                log.error("%s", fault)
            self._read()
            if self._votes.total:
                log.info("going on from %d votes of an earlier run", self._votes.total)
            self._write()
            with stop_signals(self._stop, ONE_SIGNAL):
                self._start()
                try:
                    self._watch()
                finally:
                    for worker in self.workers:
                        worker.stop()
                return self._finish()

    def _start(self) -> None:
        plan, count = self.plan, len(self.plan.devices)
        shards = share_tasks(self._tasks, plan.ranks * count)[plan.rank * count : (plan.rank + 1) * count]
        silence = min(600.0, max(LEAST_SILENCE, self.clock.limit / 10)) if plan.silence is None else plan.silence
        threads = max(1, (os.cpu_count() or 1) // count) if count > 1 else None
        for number, (shard, device) in enumerate(zip(shards, plan.devices, strict=False), start=plan.rank * count):
            name = f"{number}-of-{plan.ranks * count}"
            job = Job(
                tasks={task.id: to_challenge(task) for task in shard},
                journal=str(plan.journal),
                name=f"fitted-{name}",
                device=device,
                deadline=self._deadline,
                options=plan.options,
                weights=str(plan.weights[0]) if plan.weights else None,
            )
            log_file = plan.journal / f"worker-{name}.log"
            worker = WorkerHandle(number, job, log_file, silence, command=plan.command, threads=threads)
            self.workers.append(worker)
            worker.start()

    def _watch(self) -> None:
        while time.monotonic() < self._deadline + self._reserve / 2 and not self.clock.expired():
            others_done = self.plan.rank > 0 or all(self._mark(rank).exists() for rank in range(1, self.plan.ranks))
            if others_done and not any(worker.working for worker in self.workers):
                return
            time.sleep(LOOK)
            self._read()
            now = time.monotonic()
            if self._unwritten and now - self._written > WRITE_EVERY:
                self._write()
            for worker in self.workers:
                worker.look(self._deadline)
                if worker.refused is not None:
                    self._refused(worker, *next(iter(worker.refused.items())))
            if now - self._reported > max(10.0, self.clock.limit / 60):
                self._reported = now
                self._report()

    def _refused(self, worker: WorkerHandle, what: str, reason: str) -> None:
        """Replace unusable weights by the next or a fresh model, or a device by the CPU, if the plan allows it."""
        instead: str | None = "cpu"
        if what == "weights":
            following = [*map(str, self.plan.weights), None]
            instead = following[following.index(worker.job.weights) + 1] if worker.job.weights else None
        if not self.plan.forgiving or getattr(worker.job, what) == instead:
            raise InputError(reason)
        log.error("%s; %s continues with %s instead", reason, worker.name, instead or "a fresh model")
        worker.start_over(**{what: instead})

    def _read(self) -> None:
        for block in self._reader.new_blocks():
            self._votes.add(block)
            self._unwritten = True

    def _write(self) -> None:
        """Write the current best answers. A full disk must not end the run."""
        if self.plan.rank > 0:
            return
        try:
            self.plan.challenges.write(self.plan.out, answers_of(self._tasks, self._votes.ranked()))
            self._unwritten = False
        except InputError as error:
            log.error("%s; keeping the previous submission and trying again", error)
        self._written = time.monotonic()

    def _report(self) -> None:
        beats = [worker.progress for worker in self.workers if worker.progress]
        steps, agreed = (sum(beat[key] for beat in beats) for key in ("steps", "agreed"))
        losses = [f"{beat['loss']:.3f} (exact {beat['exact']:.0%})" for beat in beats if beat["loss"] is not None]
        voted = sum(any(of_test) for of_test in self._votes.ranked().values())
        time_used = f"{format_duration(self.clock.elapsed())} of {format_duration(self.clock.limit)}"
        fit = f"{steps} fitting steps, loss {', '.join(losses) or 'not known yet'}"
        votes = f"{self._votes.total} votes, {voted} of {len(self._tasks)} tasks voted on"
        log.info("%s: %s; %s, %d test outputs agree", time_used, fit, votes, agreed)

    def _stop(self, number: int) -> None:
        log.warning("signal %d: stopping and writing the votes so far", number)
        self.clock.stop()

    def _finish(self) -> Outcome:
        """Count the last votes and write the files."""
        self._read()
        outcome = Outcome(self._votes)
        for worker in self.workers:
            took = worker.done or {"steps": worker.progress.get("steps", 0)}  # what it last reported if it is not done
            outcome.fit_steps += took["steps"]
            outcome.notes += [note for note in (*worker.notes, *took.get("notes", [])) if note not in outcome.notes]
            for sums, name in ((outcome.seconds, "seconds"), (outcome.rates, "rates")):
                for key, value in took.get(name, {}).items():
                    sums[key] = sums.get(key, 0.0) + value
        if self.clock.stopped.is_set():
            outcome.notes.append(STOPPED)
        if self._reader.leaks and LEAK_WARNING not in outcome.notes:
            outcome.notes.append(LEAK_WARNING)
        if self.plan.rank > 0:
            write_atomically(self._mark(self.plan.rank), b"done")
            return outcome
        plan, folder = self.plan, self.plan.out.parent
        plan.challenges.write(plan.out, outcome.answers(self._tasks))
        preset = next((worker.done["preset"] for worker in self.workers if worker.done), plan.options["preset"])
        try:
            if plan.candidates is not None:
                candidates_json.write(folder / candidates_json.FILE_NAME, self._votes.ranked(), plan.candidates)
            write_record(folder, self._tasks, outcome, preset, plan.source, plan.options["seed"])
        except InputError as error:  # the submission is what counts
            log.error("%s; the submission is complete", error)
        if not self.clock.stopped.is_set():
            clear_fitted(plan.journal)
        return outcome

    def _mark(self, rank: int) -> Path:
        """The file that marks a rank as done; torchrun's variables in its name tell runs apart."""
        names = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT")
        return self.plan.journal / "-".join(["done", str(rank), *(os.environ.get(name, "") for name in names)])


def lock_of(out: Path, rank: int = 0) -> tuple[Path, str]:
    """The folder and the name of the lock that a run which writes `out` holds."""
    return out.parent / "journal", f"lock-{rank}"


def clear_fitted(journal: Path) -> None:
    """Delete the fitted weights of all workers."""
    for path in journal.glob("fitted-*"):
        shutil.rmtree(path, ignore_errors=True)


def reserve(budget: float) -> float:
    """Seconds of a budget that are reserved for the last count and the files."""
    return min(60.0, max(1.0, budget / 100))
