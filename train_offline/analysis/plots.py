"""Draws the figures of an analysis."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Figures = Mapping[str, Any]
PANEL = (4.6, 3.4)  # inches


def _panels(count: int, columns: int = 3) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure  # here, as the package is optional

    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes[:count]


def _finish(axes: "Axes", title: str, x: str, y: str = "share", top: float | None = None) -> None:
    axes.set_title(title, fontsize=10)
    axes.set(xlabel=x, ylabel=y)
    axes.set_ylim(bottom=0, top=top)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _line(axes: "Axes", x: Sequence[float], estimates: Sequence[Figures], label: str) -> None:
    """A line with its interval as a band."""
    mean, low, high = ([estimate[part] for estimate in estimates] for part in ("mean", "low", "high"))
    (line,) = axes.plot(x, mean, marker=".", label=label)
    axes.fill_between(x, low, high, color=line.get_color(), alpha=0.12)


def draw_votes(figures: Figures) -> "Figure":
    """pass@1, 2 and 5 over the number of votes, with the canonical pass."""
    figure, (axes,) = _panels(1)
    curve = figures["curve"]
    votes = [point["votes"] for point in curve]
    for name in ("pass@1", "pass@2", "pass@5"):
        _line(axes, votes, [point[name] for point in curve], name)
    axes.axhline(figures["canonical"]["mean"], color="black", linestyle="--", label="one canonical pass")
    axes.set_xscale("log")
    _finish(axes, "solved test outputs over votes", "votes")
    return figure


def draw_identity(figures: Figures) -> "Figure":
    """Bars per puzzle embedding: canonical pass and pass@2."""
    figure, (axes,) = _panels(1)
    conditions = {name: part for name, part in figures["conditions"].items() if part is not None}
    for shift, name in ((-0.2, "canonical"), (0.2, "pass@2")):
        mean, low, high = (
            np.array([part[name][key] for part in conditions.values()]) for key in ("mean", "low", "high")
        )
        error = np.maximum(0, [mean - low, high - mean])
        axes.bar(np.arange(len(mean)) + shift, mean, 0.4, yerr=error, capsize=3, label=name)
    axes.set_xticks(range(len(conditions)), [name.replace(" ", "\n") for name in conditions])
    _finish(axes, "solved test outputs by puzzle embedding", "")
    return figure


def draw_recursion(figures: Figures) -> "Figure":
    """Steps, updates, T and n, reliability, and early stopping."""
    figure, panels = _panels(6)
    _draw_steps(panels[0], figures["steps"])
    _draw_updates(panels[1], figures["updates"])
    _draw_sweep(panels[2], figures["sweep"], "flops")
    _draw_sweep(panels[3], figures["sweep"], "n")
    _draw_reliability(panels[4], figures["halting"])
    _draw_stopping(panels[5], figures["stopping"])
    return figure


def _draw_steps(axes: "Axes", steps: Sequence[Figures]) -> None:
    number = [point["step"] for point in steps]
    for name in ("exact", "cells", "canonical", "pass@2"):
        _line(axes, number, [point[name] for point in steps], name)
    axes.plot(number, [point["halting_probability"] for point in steps], ":", color="grey", label="halting probability")
    _finish(axes, "after each supervision step", "supervision step", top=1)


def _draw_updates(axes: "Axes", updates: Sequence[Figures]) -> None:
    place = list(range(1, len(updates) + 1))
    for name in ("exact", "cells", "canonical"):
        _line(axes, place, [point[name] for point in updates], name)
    for number, point in zip(place, updates, strict=True):
        if point["is_answer"] and len(updates) <= 32:
            axes.axvline(number, color="grey", linewidth=0.5)
    axes.set_xticks(place[:: max(1, len(place) // 12)])
    _finish(axes, "within the first step (lines: the answer's own updates)", "latent update", top=1)


def _draw_sweep(axes: "Axes", sweep: Sequence[Figures], over: str) -> None:
    for cycles in sorted({point["cycles"] for point in sweep}):
        line = [point for point in sweep if point["cycles"] == cycles]
        x = [point["gflop_per_example"] if over == "flops" else point["latent_updates"] for point in line]
        axes.plot(x, [point["exact"]["mean"] for point in line], marker=".", label=f"T {cycles}")
    own = [point for point in sweep if point["own"]]
    x = [point["gflop_per_example"] if over == "flops" else point["latent_updates"] for point in own]
    axes.plot(x, [point["exact"]["mean"] for point in own], "k*", markersize=10, label="as trained" if own else None)
    steps = f", {sweep[0]['steps']} supervision steps" if sweep else ""
    _finish(axes, f"exact under other T and n{steps}", "GFLOP per example" if over == "flops" else "n, latent updates")


def _draw_reliability(axes: "Axes", halting: Figures) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.7)
    for name, part in halting.items():
        words = f"{name.replace('_', ' ')}, ECE {part['expected_calibration_error']:.2f}"
        bins = part["bins"]
        axes.plot([bin["probability"] for bin in bins], [bin["right"] for bin in bins], marker="o", label=words)
    _finish(axes, "calibration of the halting head", "halting probability", "share right", top=1)


def _draw_stopping(axes: "Axes", rules: Sequence[Figures]) -> None:
    for name, field in (("agreement with the full run", "agreement"), ("exact", "exact")):
        values = [rule[field] if field == "agreement" else rule[field]["mean"] for rule in rules]
        axes.scatter([rule["mean_steps"] for rule in rules], values, s=12, label=name)
    _finish(axes, "early stopping, one dot per rule", "mean supervision steps", top=1.03)


def draw_efficiency(figures: Figures) -> "Figure":
    """A panel per figure, a bar per canvas mode."""
    figure, panels = _panels(6)
    modes = figures["modes"]
    wanted = (
        ("examples_per_second", "examples per second", 1.0),
        ("peak_memory_bytes", "peak memory, GB", 1e-9),
        ("gemm_gflop_per_example", "GEMM-GFLOP per example", 1.0),
        ("gflop_per_example", "GFLOP per example", 1.0),
        ("flop_per_solved_task", "GFLOP per solved task", 1e-9),
        ("outputs_solved", "outputs solved", 1.0),
    )
    for axes, (name, title, unit) in zip(panels, wanted, strict=True):
        values = [part[name] for part in modes.values()]
        bars = axes.bar(list(modes), [unit * (value or 0) for value in values], 0.5)
        axes.bar_label(bars, ["none solved" if v is None else f"{unit * v:.3g}" for v in values], fontsize=8)
        _finish(axes, title, "", "")
    return figure
