"""Metrics of a run: means over a window of steps, as JSON lines, as TensorBoard events and as a plot."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import orjson
import torch
import tyro
from torch import Tensor

from solver.common.checks import InputError, shown
from solver.common.files import write_atomically, write_atomically_with
from solver.learning.learner import Metrics
from solver.learning.ranks import Ranks

FILE = "metrics.jsonl"
log = logging.getLogger("arc_trm")


@dataclass
class Window:
    """Sums over the steps since the last report. The losses stay on the device until they are read."""

    steps: int = 0
    slots: int = 0  # of all ranks: supervision steps times samples
    flops: float = 0.0  # of all ranks
    drawing: float = 0.0  # seconds this process spent on input
    seconds: float = 0.0  # of training up to `began`
    cpu_seconds: float = 0.0  # of this process, likewise
    began: float = field(default_factory=lambda: time.monotonic())
    cpu_began: float = field(default_factory=lambda: time.process_time())
    sums: Tensor | None = None

    def add(self, metrics: Metrics, flops: float) -> None:
        """Add a step."""
        sums = torch.stack([part.double() for part in metrics[:-1]])
        self.sums = sums if self.sums is None else self.sums + sums
        self.steps, self.slots, self.flops = self.steps + 1, self.slots + metrics.slots, self.flops + flops

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock: evaluations and checkpoints are not training time."""
        self.seconds += time.monotonic() - self.began
        self.cpu_seconds += time.process_time() - self.cpu_began
        yield
        self.began, self.cpu_began = time.monotonic(), time.process_time()

    def means(self, ranks: Ranks, peak_gflops: float) -> dict[str, float]:
        """Averages over the steps and all ranks. Waits for the device."""
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
            "window_cpu_seconds": self.cpu_seconds + time.process_time() - self.cpu_began,
        }


class MetricsLog:
    """`metrics.jsonl` in a run's folder, one line per report or evaluation. Only rank 0 writes."""

    def __init__(self, out: Path, step: int, tensorboard: bool, rank: int) -> None:
        """Continue after `step`. Lines of later steps, left by a killed run, are dropped."""
        self._path, self._board = (out / FILE if rank == 0 else None), None
        if self._path is None:
            return
        kept = [orjson.dumps(line) + b"\n" for line in read_metrics(out) if line["step"] <= step]
        write_atomically(self._path, b"".join(kept))
        self._written, self._waiting = sum(map(len, kept)), b""
        if tensorboard:
            try:
                from tensorboardX import SummaryWriter  # here, since the package is optional
            except ImportError:
                hint = "pip install tensorboardX"
                raise InputError(f"--tensorboard: expected the package tensorboardX, got none: {hint}") from None
            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step)

    def write(self, step: int, values: dict[str, Any], group: str = "train") -> None:
        """Append a line, and a point to every TensorBoard curve. What a full disk refuses is written with the next."""
        if self._path is None:
            return
        self._waiting += orjson.dumps({"step": step, "group": group, **values}) + b"\n"
        try:
            with self._path.open("ab") as file:
                file.truncate(self._written)  # remove half a line of an earlier failure
                file.write(self._waiting)
            self._written, self._waiting = self._written + len(self._waiting), b""
            for name, value in values.items() if self._board else ():
                self._board.add_scalar(f"{group}/{name}", value, step)  # type: ignore[union-attr]
        except OSError as error:
            log.warning("%s: expected to write metrics, got: %s; trying again", self._path, error.strerror)

    def close(self) -> None:
        """Close the files."""
        if self._board:
            self._board.close()


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of a run, without an incomplete last one. Raises InputError for an invalid line."""
    path = out / FILE
    if not path.exists():
        return []
    try:
        raw = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: expected the metrics of a run, got: {error.strerror}") from None
    lines = []
    for number, line in enumerate(raw[:-1]):  # what follows the last newline was cut by a kill
        try:
            values = orjson.loads(line)
        except orjson.JSONDecodeError:
            values = None
        if not isinstance(values, dict) or type(values.get("step")) is not int or "group" not in values:
            got = shown(line.decode(errors="replace"))
            raise InputError(f"{path}: line {number + 1}: expected metrics of a step, got {got}")
        lines.append(values)
    return lines


PANELS = (
    ("token_loss", "train", "loss on training pairs"),
    ("exact", "train", "exact sequences, training pairs"),
    ("pass@2", "evaluation", "pass@2, held-out test outputs"),
    ("exact", "evaluation", "solved exactly, held-out puzzles"),
)
SMOOTHED = 0.05  # share of a training curve that each point is averaged over


def draw_curves(runs: Sequence[Path], out: Path, over: Literal["step", "seconds"] = "step") -> None:
    """Plot one panel per figure and one line per run. Raises InputError for a run without metrics."""
    try:
        from matplotlib.figure import Figure  # here, since the package is optional
    except ImportError:
        raise InputError("curve: expected the package matplotlib, got none: pip install matplotlib") from None
    if not runs:
        raise InputError("curve: expected the folder of a run, got none")
    lines = {run: read_metrics(run) for run in runs}
    for run, metrics in lines.items():
        if not metrics:
            raise InputError(f"{run}: expected a run's folder with {FILE} in it, got none")
    panels = [panel for panel in PANELS if any(_points(metrics, *panel[:2], over)[0] for metrics in lines.values())]
    figure = Figure(figsize=(4.5 * len(panels), 3.2), layout="constrained")
    for axes, (name, group, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for run, metrics in lines.items():
            x, y = _points(metrics, name, group, over)
            y = _smoothed(y) if group == "train" else y
            axes.plot(x, y, marker="." if group == "evaluation" else "", label=run.name)
        leaky = group == "evaluation" and any(line.get("leaks_allowed") for run in runs for line in lines[run])
        axes.set(
            title=f"{title}, leaks allowed" if leaky else title,
            xlabel="step" if over == "step" else "minutes of training",
        )
        axes.title.set_fontsize(10)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if len(runs) > 1:
            axes.legend()
    write_atomically_with(out, lambda path: figure.savefig(path, format=out.suffix[1:] or "png", dpi=110), "a picture")


def _points(metrics: list[dict[str, Any]], name: str, group: str, over: str) -> tuple[list[float], list[float]]:
    """Steps or minutes, and values, of a figure. An evaluation has the time of the last report before it."""
    x, y, seconds = [], [], 0.0
    for line in metrics:
        seconds = line.get("seconds", seconds)
        if line["group"] == group and name in line:
            x.append(line["step"] if over == "step" else seconds / 60)
            y.append(line[name])
    return x, y


def _smoothed(values: list[float]) -> list[float]:
    """Moving averages: single batches are noisy."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    last = np.arange(1, len(sums))
    first = np.maximum(0, last - max(1, round(SMOOTHED * len(values))))
    smoothed: list[float] = ((sums[last] - sums[first]) / (last - first)).tolist()
    return smoothed


def command(
    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")],
    out: Path = Path("curve.png"),
    over: Literal["step", "seconds"] = "step",
) -> int:
    """Plot the training curves of one or more runs: loss, exact rate and scores on held-out data.

    Args:
        runs: Folders written by `arc-trm train`.
        out: Output file: .png, .svg or .pdf.
        over: The x axis: steps, or time spent training.
    """
    draw_curves(runs, out, over)
    print(out)
    return 0
