"""One process that solves some of a run's tasks on one device, told by its supervisor and watched by it.

`python -m submission.workers.worker` reads a job, one line of JSON, from its standard input, and ends when that is
closed: a worker never outlives its supervisor. On its standard output it says what happens, a line of JSON each:
{"beat": Progress}, {"notes": [what its score needs]}, {"refused": {"device" or "weights": why}}, {"done": {...}}.
Votes go to the journal.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import torch

from solver.answers.outcome import LEAK_WARNING
from solver.answers.votes import Block, Votes
from solver.common.checks import InputError
from solver.common.clock import Clock
from solver.fit import Fitting
from solver.model.device import pick_device, pick_precision
from solver.model.weights import fresh_knowledge, load_arc_knowledge
from solver.run.restart import Keeper
from solver.run.solve import Progress, solve
from solver.settings.options import SolveOptions
from solver.settings.presets import configured
from solver.tasks.load import load_tasks
from submission.workers.job import ORPHANED, REFUSED, Job

BEAT = 0.5  # seconds between beats, at the least


class Teller:
    """Watches a run: tells the supervisor that it is alive, and keeps what must survive it."""

    def __init__(self, stream: BinaryIO, keeper: Keeper) -> None:
        self._stream, self._keeper, self._last = stream, keeper, 0.0

    def beat(self, progress: Progress) -> None:
        """Tell how far the run is, but not more often than need be."""
        if time.monotonic() - self._last >= BEAT:
            self._last = time.monotonic()
            say(self._stream, beat=progress._asdict())

    def voted(self, blocks: Sequence[Block]) -> None:
        """Put votes into the journal."""
        self._keeper.voted(blocks)

    def round_done(self, votes: Votes, fitting: Fitting) -> None:
        """Put the fitted weights where a restarted worker finds them."""
        self._keeper.fitted(fitting)


def main() -> int:
    """Do the job that standard input names; 0 done, 1 refused."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    job = Job.from_line(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    say(sys.stdout.buffer, loaded="torch")  # whatever it says, it is alive
    tried = "device"
    try:
        device = pick_device(job.device)
        tried = "weights"  # the tasks have been checked
        say(sys.stdout.buffer, done=work(job, device, sys.stdout.buffer))
    except InputError as error:
        say(sys.stdout.buffer, refused={tried: str(error)})
        return REFUSED
    return 0


def work(job: Job, device: torch.device, stream: BinaryIO) -> dict[str, Any]:
    """Solve the job's tasks; returns what the run took. Raises InputError for weights or tasks that are no good."""
    clock = Clock(job.deadline - time.monotonic())
    options = SolveOptions(**job.options)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    tasks = load_tasks(job.tasks)
    start = load_arc_knowledge(job.weights, device) if job.weights else None
    config = configured(options, start.model.config, start.canvas_mode) if start else configured(options)
    start = start or fresh_knowledge(config.model, options.seed, device)
    if start.saw_test_outputs:  # said at once, since a worker that is killed says nothing more
        say(stream, notes=[LEAK_WARNING])
    say(stream, loaded="weights")
    one = len(config.fit.groups(tasks)) == 1
    keeper = Keeper(Path(job.journal), tasks, job.name if one else None, start.saw_test_outputs)
    fitted = keeper.knowledge(start)
    precision = pick_precision(device, options.precision)
    run = (config, clock, Teller(stream, keeper), options.seed, precision, keeper.votes())
    outcome = solve(tasks, fitted or start, *run, resumed=fitted is not None)
    keeper.forget_weights()
    took = {"seconds": outcome.seconds, "steps": outcome.fit_steps, "rates": outcome.rates}
    return {**took, "notes": outcome.notes, "preset": config.name}


def say(stream: BinaryIO, **said: Any) -> None:
    """Tell the supervisor something."""
    stream.write(orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE))
    stream.flush()


def _end_with_supervisor() -> None:
    """End this process, whatever it is doing, when standard input is closed."""
    while os.read(0, 1):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
