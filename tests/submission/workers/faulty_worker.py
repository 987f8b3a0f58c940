"""A worker with a fault: `python -m tests.submission.workers.faulty_worker FAULT FLAG`.

Faults that end or block the worker happen once: the file FLAG says that it has been.
"""

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
LARGEST = 3  # examples for which a scarce memory suffices


def once() -> bool:
    """Whether this is the first time."""
    first = not FLAG.exists()
    FLAG.touch()
    return first


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


def install() -> None:
    """Put the fault in its place."""
    if FAULT == "out of memory in fit":
        Learner.step = scarce(Learner.step, lambda self, canvas, *rest: self.slots[canvas].total, LARGEST)  # type: ignore[method-assign]
    elif FAULT == "out of memory in predict":
        predict.refine = scarce(predict.refine, lambda _, inputs, *rest: len(inputs), LARGEST)
    elif FAULT == "no memory at all":
        Learner.step = scarce(Learner.step, lambda *_: 1, 0)  # type: ignore[method-assign]
        predict.refine = scarce(predict.refine, lambda *_: 1, 0)
    elif FAULT == "disk full":
        fsync, full = os.fsync, [True, True]

        def sometimes(handle: int) -> None:
            if full and "journal" in str(Path(f"/proc/self/fd/{handle}").readlink()):
                full.pop()
                raise OSError(28, "No space left on device")
            fsync(handle)

        journal.os.fsync = sometimes  # type: ignore[attr-defined]
    elif FAULT == "clock jumps":
        jumps = iter(range(10**9, 0, -3600))
        time.time = lambda: next(jumps)
    elif FAULT == "dies always":
        Learner.step = die  # type: ignore[method-assign]
    elif once():
        if FAULT == "dies after its first votes":
            append = journal.Journal.append
            journal.Journal.append = lambda self, blocks: (append(self, blocks), die())  # type: ignore[method-assign,assign]
        elif FAULT == "hangs":
            Learner.step = lambda *_: time.sleep(1000)  # type: ignore[method-assign,assign,return-value]
        elif FAULT == "crashes":
            Learner.step = lambda *_: 1 // 0  # type: ignore[method-assign,assign,return-value]
        else:
            raise ValueError(FAULT)


if __name__ == "__main__":
    install()
    sys.exit(worker.main())
