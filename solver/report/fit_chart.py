"""The training curve of the fit: charts of loss and exact rate over the steps, and a summary in words."""

import math
from collections.abc import Sequence

from solver.common.clock import format_duration

WIDTH, HEIGHT = 360, 190  # of a chart; about pixels on a phone
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 38  # around the plot
MOST_POINTS = 400  # drawn; twice as many as a run records
TICKS = 4  # at least, about

Reading = Sequence[float]  # step, seconds, loss, exact


def draw_fit(curve: Sequence[Reading]) -> str:
    """The section for "curve" of run.json; empty with fewer than two points."""
    if len(curve) < 2:
        return ""
    curve = [*curve[: -1 : math.ceil(len(curve) / MOST_POINTS)], curve[-1]]
    steps, seconds, losses, exact = zip(*curve, strict=True)
    shares = [100 * share for share in exact]
    charts = _chart(steps, losses, "Loss", f"{losses[-1]:.3g}")
    charts += _chart(steps, shares, "Exact rate, percent", f"{exact[-1]:.1%}", most=100.0)
    summary = (
        f"{steps[-1]:,} steps in {format_duration(seconds[-1])}. The loss went from {losses[0]:.3g} to "
        f"{losses[-1]:.3g}; at the end, {exact[-1]:.1%} of the sequences had every token right."
    )
    return (
        '<section class="card" id="fit" aria-labelledby="fit-title"><h2 id="fit-title">Training curve of the fit</h2>'
        f'<p class="summary">{summary}</p><div class="charts">{charts}</div></section>'
    )


def _chart(steps: Sequence[float], values: Sequence[float], name: str, last: str, most: float | None = None) -> str:
    """A line chart over the steps. The axis goes from 0 to `most` (None: to the largest value)."""
    right, top = max(steps[-1], 1), most or max(max(values), 1e-9)
    across, up = _ticks(right), _ticks(top)
    top = max(top, up[-1])

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / right

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in zip(steps, values, strict=True))
    grid = "".join(f'<path class="rule" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>' for tick in up)
    marks = [f'<text class="end" x="{LEFT - 6}" y="{y(tick) + 4:.1f}">{tick:g}</text>' for tick in up]
    for tick in across:  # 12000 as 12k, so that ticks do not overlap on a phone
        short = f"{tick / 1000:g}k" if tick >= 10_000 else f"{tick:g}"
        marks.append(f'<text class="mid" x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 16}">{short}</text>')
    axis = f'<text class="mid name" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}">fitting steps</text>'
    dot = f'<circle r="3" cx="{x(steps[-1]):.1f}" cy="{y(values[-1]):.1f}"/>'
    words = (
        f"{name} over fitting steps: {values[0]:.3g} at step {steps[0]:g}, {values[len(values) // 2]:.3g} at step "
        f"{steps[len(steps) // 2]:g}, {values[-1]:.3g} at step {steps[-1]:g}; lowest {min(values):.3g}, highest "
        f"{max(values):.3g}"
    )
    svg = f'<svg class="chart" role="img" aria-label="{words}" viewBox="0 0 {WIDTH} {HEIGHT}">'
    content = f'{grid}{"".join(marks)}{axis}<polyline points="{line}"/>{dot}'
    return f"<figure><figcaption>{name}, {last} at the end</figcaption>{svg}{content}</svg></figure>"


def _ticks(most: float) -> list[float]:
    """0 and multiples of 1, 2 or 5 times a power of ten, up to `most`."""
    step = 10.0 ** math.floor(math.log10(most))
    step = next(step * part for part in (1, 0.5, 0.2, 0.1) if most / (step * part) >= TICKS)
    return [round(step * count, 12) for count in range(int(most / step + 1e-9) + 1)]
