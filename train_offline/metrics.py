"""What a run says of itself: means over a window of steps, as JSON lines and, if asked, for TensorBoard."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor

from solver.checks import shown
from solver.errors import InputError
from solver.files import write_atomically
from solver.learner import Metrics
from solver.ranks import Ranks

FILE = "metrics.jsonl"


@dataclass
class Window:
    """Sums over the steps since the last report. The losses stay on the device until they are asked for."""

    steps: int = 0
    slots: int = 0  # of all ranks: one supervision step of one sample each
    flops: float = 0.0  # of all ranks
    drawing: float = 0.0  # seconds this process spent on input
    seconds: float = 0.0  # up to `began`
    began: float = field(default_factory=lambda: time.monotonic())
    sums: Tensor | None = None

    def add(self, metrics: Metrics, flops: float) -> None:
        """Count a step."""
        sums = torch.stack([part.double() for part in metrics[:-1]])
        self.sums = sums if self.sums is None else self.sums + sums
        self.steps, self.slots, self.flops = self.steps + 1, self.slots + metrics.slots, self.flops + flops

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The clock stands still: evaluations and checkpoints are not training."""
        self.seconds += time.monotonic() - self.began
        yield
        self.began = time.monotonic()

    def means(self, ranks: Ranks, peak_gflops: float) -> dict[str, float]:
        """What the steps were like on average, over all ranks; waits for the device."""
        assert self.sums is not None, "a window has steps"
        loss, tokens, halting, continuing, right, steps = (v / self.slots for v in ranks.total(self.sums.tolist()))
        seconds = self.seconds + time.monotonic() - self.began
        return {
            "loss": loss,
            "token_loss": tokens,
            "halting_loss": halting,
            "continue_loss": continuing,
            "exact": right,
            "supervision_steps": steps,
            "examples_per_second": self.slots / seconds,
            "peak_share": self.flops / seconds / (peak_gflops * 1e9 * ranks.count),
            "input_share": self.drawing / seconds,
            "window_seconds": seconds,
        }


class MetricsLog:
    """`metrics.jsonl` in a run's folder, a line a report or evaluation; only rank 0 writes."""

    def __init__(self, out: Path, step: int, tensorboard: bool, rank: int) -> None:
        """Go on after `step`: lines of later steps, which a killed run has left, are dropped."""
        self._path, self._board = (out / FILE if rank == 0 else None), None
        if self._path is None:
            return
        kept = [line for line in read_metrics(out) if line["step"] <= step]
        write_atomically(self._path, b"".join(orjson.dumps(line) + b"\n" for line in kept))
        if tensorboard:
            try:
                from tensorboardX import SummaryWriter  # here, since the package is optional
            except ImportError:
                hint = "pip install tensorboardX"
                raise InputError(f"--tensorboard: expected the package tensorboardX, got none: {hint}") from None
            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step)

    def write(self, step: int, values: dict[str, Any], group: str = "train") -> None:
        """Add a line, and a point to every curve."""
        if self._path is None:
            return
        with self._path.open("ab") as file:
            file.write(orjson.dumps({"step": step, "group": group, **values}) + b"\n")
        for name, value in values.items() if self._board else ():
            self._board.add_scalar(f"{group}/{name}", value, step)  # type: ignore[union-attr]

    def close(self) -> None:
        """Let go of the files."""
        if self._board:
            self._board.close()


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of a run so far, but for a last one that a kill has cut. Raises InputError for what is no such line."""
    path = out / FILE
    if not path.exists():
        return []
    try:
        raw = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: expected the metrics of a run, got: {error.strerror}") from None
    lines = []
    for number, line in enumerate(raw[:-1]):  # whole lines end; a kill may have cut the last one
        try:
            values = orjson.loads(line)
        except orjson.JSONDecodeError:
            values = None
        if not isinstance(values, dict) or not isinstance(values.get("step"), int) or "group" not in values:
            got = shown(line.decode(errors="replace"))
            raise InputError(f"{path}: line {number + 1}: expected metrics of a step, got {got}")
        lines.append(values)
    return lines
