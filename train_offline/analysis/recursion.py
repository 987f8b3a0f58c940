"""The value of recursion (arXiv 2512.11847, "Test-Time Compute").

Letters: N examples, S supervision steps, T cycles per step, n latent updates per cycle.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from kernels.canvas import Canvas
from solver.common.checks import at_least, within
from solver.model.trm import TRM, Condition
from solver.settings.config import TRMConfig
from train_offline.analysis.findings import Findings, percent
from train_offline.analysis.forward import Bench, Examples, Judge, Trajectory, trajectory, with_recursion
from train_offline.analysis.inputs import AnalysisOptions, Subject
from train_offline.analysis.vote_statistics import calibration, last_steps

STABLE = (1, 2, 3, 4, 6, None)  # steps without a change after which an example stops; None: no such rule
THRESHOLDS = (0.5, 0.8, 0.9, 0.95, 0.99, None)  # halting probabilities at which it stops; None: no such rule


@dataclass(frozen=True)
class RecursionOptions(AnalysisOptions):
    cycles: tuple[int, ...] = (1, 2, 3, 4)  # T, cycles per supervision step, to try without retraining.
    latent_updates: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)  # n, latent updates per cycle, to try with each T.
    sweep_steps: int = 4  # Supervision steps for each T and n.

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("sweep_steps", self.sweep_steps, 1)
        for name in ("cycles", "latent_updates"):
            for count in getattr(self, name):
                within(name, count, 1, 64)


def recursion(subject: Subject, options: RecursionOptions) -> Findings:
    """Accuracy over supervision steps and latent updates, with other T and n, with halting and early stopping.

    After each update of the latent within the first supervision step, a probe updates the answer from it at once.
    T and n are changed without retraining, at equal supervision steps. Early stopping is replayed on the full run: how
    many steps it takes and how often its answer equals the full run's. Intervals are 95 %, over tasks.
    """
    bench = Bench(subject, options.batch_tokens, options.decoder)
    examples, judge, own = bench.examples(), Judge(bench, np.random.default_rng(options.seed)), bench.model.config
    others = [replace(own, cycles=c, latent_updates=u) for c in options.cycles for u in options.latent_updates]
    sweep = sum(bench.flops(examples, shape, options.sweep_steps) for shape in others)
    whole = bench.flops(examples, own, options.supervision_steps + 2)  # probes cost about one more step
    with bench.progress("recursion", whole + sweep):
        full = trajectory(bench, examples, options.supervision_steps)
        figures: dict[str, Any] = {
            "cycles": own.cycles,
            "latent_updates": own.latent_updates,
            "steps": step_curve(full, judge),
            "updates": update_curve(bench, examples, judge),
            "sweep": [try_recursion(bench, examples, shape, options.sweep_steps, judge) for shape in others],
        }
    figures["halting"] = {
        "last_step": calibration(full.answers.halting[-1], full.answers.right[-1]),
        "all_steps": calibration(full.answers.halting.ravel(), full.answers.right.ravel()),
    }
    figures["stopping"] = [stop(full, stable, limit, judge) for stable in STABLE for limit in THRESHOLDS]
    return figures, [_row(figures)]


def step_curve(full: Trajectory, judge: Judge) -> list[dict[str, Any]]:
    """Figures for each supervision step."""
    return [
        {
            "step": step + 1,
            "exact": judge.examples(right),
            "cells": judge.examples(full.cells[step]),
            "canonical": judge.canonical(right),
            **judge.votes(key, halting),
            "halting_probability": float(halting.mean()),
            "answers_changed": float((key != full.answers.key[step - 1]).mean()) if step else 1.0,
        }
        for step, (key, right, halting) in enumerate(zip(*full.answers, strict=True))
    ]


def update_curve(bench: Bench, examples: Examples, judge: Judge) -> list[dict[str, Any]]:
    """Figures for each update within the first supervision step; see `probes`."""
    places = [place for place, _ in probe_places(bench.model.config)]
    right = np.zeros((len(places), len(examples.test)), bool)
    cells = np.zeros(right.shape)

    def work(inputs: Tensor, condition: Condition, canvas: Canvas, chosen: np.ndarray) -> None:
        x, model = bench.model.embed(inputs, condition, canvas), bench.model
        for number, answer in enumerate(probes(model, x, canvas)):
            logits = model.output_head(answer[:, model.config.puzzle_tokens :])
            _, right[number, chosen], cells[number, chosen] = bench.grade(logits, examples.at(chosen), canvas)

    bench.run(examples, work, bench.model.config, 2)
    return [
        {
            "cycle": cycle,
            "latent_update": update,
            "is_answer": is_answer,
            "exact": judge.examples(right[number]),
            "cells": judge.examples(cells[number]),
            "canonical": judge.canonical(right[number]),
        }
        for number, ((cycle, update), is_answer) in enumerate(probe_places(bench.model.config))
    ]


def probe_places(config: TRMConfig) -> list[tuple[tuple[int, int], bool]]:
    """Cycle and update, from 1, of each answer that `probes` yields, and whether it is one of the recursion itself."""
    updates = config.updates if config.latents == 1 else config.latent_updates
    last = [config.latents == 1 or update == updates for update in range(1, updates + 1)]
    return [((cycle + 1, update + 1), last[update]) for cycle in range(config.cycles) for update in range(updates)]


def probes(model: TRM, x: Tensor, canvas: Canvas) -> Iterator[Tensor]:
    """Answers y (B, N, D) within the first supervision step from x (B, N, D): one after each update of the latent.

    The latent is read by updating the answer from it at once, as a probe that the recursion does not see. After the
    last latent update of a cycle that is the recursion's own answer. A single latent is its own answer.
    """
    config, rotary, (y, z) = model.config, model.rotary(canvas, x.device), model.fresh_state(len(x), canvas)
    for _ in range(config.cycles):
        if config.latents == 1:
            for injection in model.injections(x):
                y = model.update_answer(y, injection, rotary)
                yield y
        else:
            for _ in range(config.latent_updates):
                z = model.update_latent(x, y, z, rotary)
                answer = model.update_answer(y, z, rotary)
                yield answer
            y = answer


def try_recursion(bench: Bench, examples: Examples, shape: TRMConfig, steps: int, judge: Judge) -> dict[str, Any]:
    """Accuracy and cost of `steps` supervision steps with another T and n."""
    began = time.perf_counter()
    tried = trajectory(bench, examples, steps, with_recursion(bench.model, shape))
    seconds = (time.perf_counter() - began) / len(examples.test)
    answers, own = tried.answers, bench.model.config
    return {
        "cycles": shape.cycles,
        "latent_updates": shape.latent_updates,
        "own": (shape.cycles, shape.latent_updates) == (own.cycles, own.latent_updates),
        "steps": steps,
        "exact_after_one_step": judge.examples(answers.right[0]),
        "exact": judge.examples(answers.right[-1]),
        "cells": judge.examples(tried.cells[-1]),
        "canonical": judge.canonical(answers.right[-1]),
        **judge.votes(answers.key[-1], answers.halting[-1]),
        "gflop_per_example": bench.flops(examples, shape, steps) / len(examples.test) / 1e9,
        "gemm_gflop_per_example": seconds * bench.subject.gemm_gflops,
        "seconds_per_example": seconds,
    }


def stop(full: Trajectory, stable: int | None, threshold: float | None, judge: Judge) -> dict[str, Any]:
    """Accuracy and steps of an early-stopping rule, replayed on the full run."""
    steps, every = len(full.same), np.arange(full.same.shape[1])
    last = last_steps(full.same, full.answers.halting, stable, threshold)
    key, right, halting = (part[last, every] for part in full.answers)
    return {
        "stable_steps": stable,
        "halting_threshold": threshold,
        "mean_steps": float(last.mean()) + 1,
        "share_of_steps": (float(last.mean()) + 1) / steps,
        "agreement": float((key == full.answers.key[-1]).mean()),
        "exact": judge.examples(right),
        **judge.votes(key, halting),
    }


def _row(figures: dict[str, Any]) -> dict[str, str]:
    steps, halting = figures["steps"], figures["halting"]["all_steps"]
    rules = {(rule["stable_steps"], rule["halting_threshold"]): rule for rule in figures["stopping"]}
    usual, show = rules[2, 0.95], partial("{:.1%}".format)
    auc = "–" if halting["auc"] is None else f"{halting['auc']:.2f}"
    few = [steps[place] for place in sorted({0, 1, 3, len(steps) - 1}) if place < len(steps)]
    row = {
        f"exact after step {', '.join(str(s['step']) for s in few)}": " / ".join(show(s["exact"]["mean"]) for s in few),
        "exact after each latent update of step 1": " / ".join(show(u["exact"]["mean"]) for u in figures["updates"]),
        "pass@2 after the last step": percent(steps[-1]["pass@2"]),
    }
    if figures["sweep"]:
        best = max(figures["sweep"], key=lambda tried: tried["exact"]["mean"])
        own = f"T {figures['cycles']}, n {figures['latent_updates']}"
        row[f"best T, n in {best['steps']} steps"] = (
            f"T {best['cycles']}, n {best['latent_updates']}: {show(best['exact']['mean'])} (its own: {own})"
        )
    row["halting, all steps"] = f"ECE {halting['expected_calibration_error']:.3f}, AUC {auc}"
    kept = f"{show(usual['agreement'])} the same answer, exact {show(usual['exact']['mean'])}"
    row["stop at 2 stable steps or 0.95"] = f"{usual['mean_steps']:.1f} steps, {kept}"
    return row
