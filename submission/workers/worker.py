"""One process that solves some of a run's tasks on one device, for a supervisor that watches it.

`python -m submission.workers.worker` reads a job, one line of JSON, from its standard input, and ends when that is
closed: a worker never outlives its supervisor. It reports on its standard output, one line of JSON per message:
{"beat": Progress}, {"notes": [notes on its score]}, {"refused": {"device" or "weights": reason}}, {"done": {...}}.
Votes go to the journal.
"""

import json
import logging
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import torch

from solver.answers.outcome import LEAK_WARNING
from solver.common.checks import InputError
from solver.common.clock import Clock
from solver.model.device import pick_device
from solver.run.events import Progress
from solver.run.restart import Keeper
from solver.run.solve import open_run, solve
from solver.settings.options import SolveOptions
from solver.tasks.task import parse_task
from submission.workers.job import ORPHANED, REFUSED, Job

BEAT = 0.5  # seconds between two progress messages, at least


def main() -> int:
    """Do the job that standard input describes; 0 done, 1 refused, 3 the supervisor has ended."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return ORPHANED
    job = Job(**json.loads(line))
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    say(sys.stdout.buffer, loaded="torch")  # any message shows that the process is alive
    tried = "device"
    try:
        device = pick_device(job.device)
        tried = "weights"  # the tasks have been checked by the supervisor
        say(sys.stdout.buffer, done=work(job, device, sys.stdout.buffer))
    except InputError as error:
        say(sys.stdout.buffer, refused={tried: str(error)})
        return REFUSED
    return 0


def work(job: Job, device: torch.device, stream: BinaryIO) -> dict[str, Any]:
    """Solve the job's tasks and return what the run took. Raises InputError for bad weights or tasks."""
    clock = Clock(job.deadline - time.monotonic())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    tasks = [parse_task(name, task, "job") for name, task in job.tasks.items()]
    run = open_run(tasks, SolveOptions(**job.options), clock, job.weights, str(device))
    if run.start.saw_outputs_of(tasks):  # said at once, since a worker that is killed says nothing more
        say(stream, notes=[LEAK_WARNING])
    say(stream, loaded="weights")
    one_fit = len(run.parts()[1]) == 1
    keeper = Keeper(Path(job.journal), tasks, job.name if one_fit else None, run.start)
    fitted = keeper.knowledge(run.start)
    outcome, said = keeper.outcome(), 0.0
    for event in solve(replace(run, start=fitted or run.start), outcome, resumed=fitted is not None):
        keeper.keep(event)
        if isinstance(event, Progress) and time.monotonic() - said >= BEAT:
            said = time.monotonic()
            say(stream, beat=event._asdict())
    keeper.forget_weights()
    took = {"seconds": outcome.seconds, "steps": outcome.fit_steps, "rates": outcome.rates}
    return {**took, "notes": outcome.notes, "preset": run.config.name}


def say(stream: BinaryIO, **said: Any) -> None:
    """Send the supervisor a message."""
    stream.write(orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE))
    stream.flush()


def _end_with_supervisor() -> None:
    """End this process, whatever it is doing, once standard input is closed."""
    while os.read(0, 1):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
