"""`arc-trm curve RUN…`: the training curves of one or more runs as one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from solver.errors import InputError
from solver.files import write_atomically_with
from train_offline.metrics import FILE, read_metrics

PANELS = (
    ("token_loss", "train", "loss on training pairs"),
    ("exact", "train", "sequences wholly right, training pairs"),
    ("pass@2", "evaluation", "pass@2, held-out test outputs"),
    ("exact", "evaluation", "solved exactly, held-out puzzles"),
)
SMOOTHED = 0.05  # of the curve is what a point of a training figure is averaged over
LABELS = {"step": "step", "seconds": "minutes of training"}


def draw_curves(runs: Sequence[Path], out: Path, over: Literal["step", "seconds"] = "step") -> None:
    """Draw a panel for every figure that the runs have, a line a run. Raises InputError for a run without metrics."""
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
            axes.plot(
                x, _smoothed(y) if group == "train" else y, marker="." if group == "evaluation" else "", label=run.name
            )
        leaky = group == "evaluation" and any(line.get("leaks_allowed") for run in runs for line in lines[run])
        axes.set(title=f"{title}, leaks allowed" if leaky else title, xlabel=LABELS[over])
        axes.title.set_fontsize(10)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if len(runs) > 1:
            axes.legend()
    write_atomically_with(out, lambda path: figure.savefig(path, format=out.suffix[1:] or "png", dpi=110), "a picture")


def _points(metrics: list[dict[str, Any]], name: str, group: str, over: str) -> tuple[list[float], list[float]]:
    """Where a figure was taken, in steps or minutes, and its values. Evaluations take the time of the last report."""
    x, y, seconds = [], [], 0.0
    for line in metrics:
        seconds = line.get("seconds", seconds)
        if line["group"] == group and name in line:
            x.append(line["step"] if over == "step" else seconds / 60)
            y.append(line[name])
    return x, y


def _smoothed(values: list[float]) -> list[float]:
    """Means over the last few points: single batches jump."""
    width = max(1, round(SMOOTHED * len(values)))
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return [(sums[k] - sums[max(0, k - width)]) / min(k, width) for k in range(1, len(sums))]


def command(
    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")],
    out: Path = Path("curve.png"),
    over: Literal["step", "seconds"] = "step",
) -> int:
    """Draw the training curves of one or more runs: loss and exact rate, and the scores on what is held out.

    Args:
        runs: Folders that `arc-trm train` has written.
        out: The picture; .png, .svg or .pdf.
        over: What the curves run over: steps, or the time spent training.
    """
    draw_curves(runs, out, over)
    print(out)
    return 0
