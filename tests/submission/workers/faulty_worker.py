"""A worker with a fault: `python -m tests.submission.workers.faulty_worker FAULT FLAG`.

Faults that end or block the worker happen once: the file FLAG marks that one has happened.
"""

# mypy: disable-error-code="method-assign, assignment"

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import torch

from solver import predict
from solver.answers import journal
from solver.learning.learner import Learner
from submission.workers import worker

FAULT, FLAG = sys.argv[1], Path(sys.argv[2])
LARGEST = 3  # examples that fit into the simulated memory


def once() -> bool:
    """Whether this is the first call, over all processes."""
    try:
        FLAG.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def scarce(real: Any, size: Any, largest: int) -> Any:
    """`real`, but out of memory for more than `largest` examples."""

    def call(*arguments: Any) -> Any:
        if size(*arguments) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*arguments)

    return call


def die(*_: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def hang(*_: Any) -> NoReturn:
    FLAG.with_suffix(".hangs").touch()
    while True:
        time.sleep(1000)


def install() -> None:
    """Replace what is to fail."""
    if FAULT == "little memory":
        Learner.step = scarce(Learner.step, lambda self, canvas, *rest: self.slots[canvas].total, LARGEST)
        predict.refine = scarce(predict.refine, lambda _, inputs, *rest: len(inputs), LARGEST)
    elif FAULT == "no memory at all":
        Learner.step = scarce(Learner.step, lambda *_: 1, 0)
        predict.refine = scarce(predict.refine, lambda *_: 1, 0)
    elif FAULT == "disk full":
        fsync, full = os.fsync, [True, True]

        def sometimes(handle: int) -> None:
            if full and "journal" in str(Path(f"/proc/self/fd/{handle}").readlink()):
                full.pop()
                raise OSError(28, "No space left on device")
            fsync(handle)

        journal.os.fsync = sometimes
    elif FAULT == "clock jumps":
        jumps = iter(range(10**9, 0, -3600))
        time.time = lambda: next(jumps)
    elif FAULT == "dies always":
        Learner.step = die
    elif once():
        if FAULT == "dies after its first votes":
            append = journal.Journal.append
            journal.Journal.append = lambda self, blocks: (append(self, blocks), die())
        elif FAULT == "is killed":
            Learner.step = die
        elif FAULT == "hangs":
            Learner.step = hang
        elif FAULT == "crashes":
            Learner.step = lambda *_: 1 // 0
        else:
            raise ValueError(FAULT)


if __name__ == "__main__":
    install()
    sys.exit(worker.main())
