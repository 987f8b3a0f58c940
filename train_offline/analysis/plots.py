"""Draws the figures of an analysis."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Figures = Mapping[str, Any]


def _panels(count: int) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure  # here, as the package is optional

    columns = min(3, count)
    rows = count // columns
    figure = Figure(figsize=(4.6 * columns, 3.4 * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel().tolist()


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
    figure, (by_step, by_update, by_flops, by_n, reliability, stopping) = _panels(6)
    steps, updates, sweep, rules = (figures[name] for name in ("steps", "updates", "sweep", "stopping"))
    number = [point["step"] for point in steps]
    for name in ("exact", "cells", "canonical", "pass@2"):
        _line(by_step, number, [point[name] for point in steps], name)
    halting = [point["halting_probability"] for point in steps]
    by_step.plot(number, halting, ":", color="grey", label="halting probability")
    _finish(by_step, "after each supervision step", "supervision step", top=1)

    place = list(range(1, len(updates) + 1))
    for name in ("exact", "cells", "canonical"):
        _line(by_update, place, [point[name] for point in updates], name)
    for update, point in zip(place, updates, strict=True):
        if point["is_answer"] and len(updates) <= 32:
            by_update.axvline(update, color="grey", linewidth=0.5)
    by_update.set_xticks(place[:: max(1, len(place) // 12)])
    _finish(by_update, "within the first step (lines: the answer's own updates)", "latent update", top=1)
    own = [point for point in sweep if point["own"]]
    title = "exact under other T and n" + (f", {sweep[0]['steps']} supervision steps" if sweep else "")
    over = ((by_flops, "gflop_per_example", "GFLOP per example"), (by_n, "latent_updates", "n, latent updates"))
    for axes, x, label in over:
        for cycles in sorted({point["cycles"] for point in sweep}):
            line = [point for point in sweep if point["cycles"] == cycles]
            exact = [point["exact"]["mean"] for point in line]
            axes.plot([point[x] for point in line], exact, marker=".", label=f"T {cycles}")
        exact = [point["exact"]["mean"] for point in own]
        axes.plot([point[x] for point in own], exact, "k*", markersize=10, label="as trained" if own else None)
        _finish(axes, title, label)

    reliability.plot([0, 1], [0, 1], color="grey", linewidth=0.7)
    for name, part in figures["halting"].items():
        words, bins = f"{name.replace('_', ' ')}, ECE {part['expected_calibration_error']:.2f}", part["bins"]
        reliability.plot([bin["probability"] for bin in bins], [bin["right"] for bin in bins], marker="o", label=words)
    _finish(reliability, "calibration of the halting head", "halting probability", "share right", top=1)

    taken = [rule["mean_steps"] for rule in rules]
    stopping.scatter(taken, [rule["agreement"] for rule in rules], s=12, label="agreement with the full run")
    stopping.scatter(taken, [rule["exact"]["mean"] for rule in rules], s=12, label="exact")
    _finish(stopping, "early stopping, one dot per rule", "mean supervision steps", top=1.03)
    return figure


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


def draw_efficiency_curve(points: Sequence[Figures]) -> "Figure":
    """Solved outputs over training FLOPs and over CPU seconds, a line per recipe through the means of its seeds."""
    figure, panels = _panels(2)
    for axes, x in zip(panels, ("flops", "cpu_seconds"), strict=True):
        for recipe in sorted({point["recipe"] for point in points}):
            own = [point for point in points if point["recipe"] == recipe]
            found = [(point[x], point["all"]["pass@2"] * point["all"]["outputs"]) for point in own]
            budgets = sorted({f"{point['flops']:.2g}" for point in own}, key=float)
            groups = [[f for f, p in zip(found, own, strict=True) if f"{p['flops']:.2g}" == b] for b in budgets]
            line = np.array([np.mean(group, axis=0) for group in groups])
            (drawn,) = axes.plot(line[:, 0], line[:, 1], label=recipe)
            axes.plot(*zip(*found, strict=True), ".", color=drawn.get_color())
        axes.set_xscale("log")
        _finish(axes, "held-out outputs solved", f"{x.replace('_', ' ')} of training", "outputs (pass@2)")
    return figure
