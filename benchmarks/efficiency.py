"""`arc-trm efficiency`: how much a recipe solves with how many FLOPs, from scratch, beside a plain decoder."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import torch
import tyro

from benchmarks.cli import format_rows
from benchmarks.decoder import Decoder, DecoderPredictor, DecoderStream
from solver.common.checks import InputError, shown, within
from solver.common.files import read_json, write_atomically, write_atomically_with
from solver.learning.loss import step_losses
from solver.learning.ranks import Ranks
from solver.model.packing import PACKED
from solver.model.trm import TRM, Condition
from solver.predict import Predictor
from solver.settings.config import CanvasConfig, LearnerConfig, TRMConfig
from solver.tasks.task import Task
from solver.tokens.packed_stream import PackedStream
from solver.tokens.shuffle import TaskExamples
from train_offline.analysis.plots import draw_efficiency_curve
from train_offline.cost import estimate, si
from train_offline.problems.arc_problem import ArcData, arc_data, arc_problem, arc_score
from train_offline.problems.problem import Problem
from train_offline.settings.config import TrainConfig
from train_offline.settings.presets import DEMONSTRATIONS, tiny
from train_offline.trainer import RunOptions, Trainer

RecipeName = Literal["winner", "decoder", "published"]
RECIPES: tuple[RecipeName, ...] = ("winner", "decoder", "published")
CPU = torch.device("cpu")
VOTES = 16
LOSS_SAMPLES = 8  # variants of each held-out pair whose loss is measured


@dataclass(frozen=True)
class Recipe:
    """What is trained, and the classes that feed and question it."""

    config: TrainConfig
    kind: type[TRM] = TRM
    stream: type[PackedStream] = PackedStream
    predictor: type[Predictor] = Predictor


def recipe(name: RecipeName) -> Recipe:
    """A recipe, for any task list and any number of steps.

    winner: that of the presets tiny and mini. decoder: four causal layers of the same width in the same learner.
    published: the published model and learner at width 128 on tight canvases, with 1000 variants per task.
    """
    winner = tiny()
    if name == "decoder":
        model = replace(winner.model, layers=4, latents=1, latent_updates=0, canvas=(1, 1800))
        config = replace(winner, name=name, model=model, step_tokens=2 * winner.step_tokens)  # as many pairs
        return Recipe(config, Decoder, DecoderStream, DecoderPredictor)
    if name == "published":
        model, learner = TRMConfig(width=128, heads=4, row_width=128), LearnerConfig(warmup_steps=200)
        arc = replace(winner.arc, augmentations=1000, colours="all")
        tight = CanvasConfig("tight", sides=(4, 5, 6, 7, 8, 30))
        evaluation = replace(winner.evaluation, predict=replace(winner.evaluation.predict, supervision_steps=16))
        config = replace(winner, model=model, learner=learner, arc=arc, canvases=tight, evaluation=evaluation)
        return Recipe(replace(config, name=name))
    return Recipe(replace(winner, name=name))


def command(
    out: Path = Path("out/efficiency"),
    recipes: tuple[RecipeName, ...] = ("winner", "decoder"),
    flops: tuple[float, ...] = (1e12, 4e12, 1.6e13),
    seeds: int = 1,
    data: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    largest_side: int = 6,
) -> int:
    """Measure what recipes solve with how many FLOPs, from scratch.

    Trains each recipe with each budget of FLOPs and votes 16 times on the held-out test outputs. Every point is a run
    of its own, as learning rates fall at the end of a run. Points that are there are not measured again, and a point
    that was interrupted goes on from its last checkpoint. Time is CPU time of one thread.

    Args:
        out: Folder of the points and runs; also of efficiency.json, .md and .png, drawn from all points in it.
        recipes: winner (presets tiny and mini), decoder (a plain decoder in the same learner), published (the
            published recipe at width 128 on tight canvases).
        flops: Budgets of training, forward and backward matrix products.
        seeds: Number of runs of each, with the seeds 0, 1, …
        data: Corpora in place of the demonstrations of ARC-AGI-1; repeat for more.
        largest_side: Only tasks whose grids all fit a square of this side.
    """
    within("seeds", seeds, 1)
    for budget in flops:
        within("flops", budget, 1)
    what = {"data": list(data or DEMONSTRATIONS), "largest_side": largest_side}
    for path in sorted(out.glob("*-*-*.json")):
        _check(path, what)
    torch.set_num_threads(1)
    for budget in sorted(flops):
        for seed in range(seeds):
            for name in recipes:
                file = out / f"{name}-{budget:.3g}-{seed}.json"
                if not file.exists():
                    point = measure(recipe(name), budget, seed, data or DEMONSTRATIONS, largest_side, out / file.stem)
                    write_atomically(file, orjson.dumps({**point, **what}, option=orjson.OPT_INDENT_2))
    points = [_check(path, what) for path in sorted(out.glob("*-*-*.json"))]
    points.sort(key=lambda point: (point["recipe"], point["flops"], point["seed"]))
    write_atomically(out / "efficiency.json", orjson.dumps(points, option=orjson.OPT_INDENT_2))
    figure = draw_efficiency_curve(points)
    write_atomically_with(out / "efficiency.png", lambda to: figure.savefig(to, format="png", dpi=110), "a picture")
    table = format_rows([_row(point) for point in points])
    write_atomically(out / "efficiency.md", f"```\n{table}\n```\n".encode())
    print(table)
    return 0


def _check(path: Path, what: dict[str, Any]) -> Any:
    """The point in a file. Raises InputError if it is of other tasks: one curve must not mix them."""
    point = read_json(path)
    got = {name: point.get(name) for name in what} if isinstance(point, dict) else point
    if got != what:
        raise InputError(f"{path}: expected a point of {shown(what)}, got {shown(got)}: choose another --out")
    return point


def measure(
    what: Recipe, budget: float, seed: int, data: Sequence[str], largest_side: int, out: Path
) -> dict[str, Any]:
    """Train a recipe with a budget of FLOPs in the folder `out`, and score it."""
    arc = replace(what.config.arc, data=tuple(data), largest_side=largest_side)
    config = replace(what.config, arc=arc, evaluation=replace(what.config.evaluation, every=None, samples=0))
    read = arc_data(config, seed)
    problem = _problem(what, config, read, seed)
    stream = problem.stream
    slots = {canvas: stream.slot_count(canvas) for canvas in stream.canvases}
    step_flops = estimate(config, stream.shares(), slots, problem.row_count).step_flops
    steps = max(1, round(budget / step_flops))
    learner = replace(config.learner, warmup_steps=min(config.learner.warmup_steps, math.ceil(0.02 * steps)))
    config = replace(config, steps=steps, learner=learner)
    options = RunOptions(out, resume=True, seed=seed, keep=1, report_every=100)
    trainer = Trainer(config, problem, options, CPU, Ranks(), kind=what.kind)
    if trainer.run() != "done":
        raise KeyboardInterrupt
    model, table = trainer.learner.averaged()
    return {
        "recipe": config.name,
        "flops": steps * step_flops,
        "seed": seed,
        "steps": steps,
        "cpu_seconds": trainer.progress.cpu_seconds,
        "tasks": len(read.corpora.tasks),
        "tasks_digest": read.corpora.digest,
        **_scores(what, config, read, model.eval(), table),
    }


def _scores(what: Recipe, config: TrainConfig, data: ArcData, model: TRM, table: torch.Tensor) -> dict[str, Any]:
    def score(of: ArcData, votes: int) -> dict[str, float]:
        evaluation = replace(config.evaluation, samples=None, votes=votes)
        return arc_score(of, evaluation, config.canvases, what.predictor, model, table, Ranks(), None)

    tasks = [Task(task.id, task.pairs, task.pairs) for task in data.corpora.tasks]
    demonstrations = replace(data, held_out=tasks, places=list(range(len(tasks))))
    began = time.process_time()
    held_out = score(data, VOTES)
    return {
        "prediction_cpu_seconds": time.process_time() - began,
        "all": held_out,
        "of_training_tasks": score(_of_training(data), VOTES),
        "exact": score(demonstrations, 1)["canonical"],
        "held_out_loss": _held_out_loss(what, config, data, model, table),
    }


def _problem(what: Recipe, config: TrainConfig, data: ArcData, seed: int) -> Problem:
    problem = arc_problem(config, seed, CPU, data)
    if what.stream is PackedStream:
        return problem
    stream = what.stream(data.examples, config.canvases, config.step_tokens, seed, CPU)
    evaluate = partial(arc_score, data, config.evaluation, config.canvases, what.predictor)
    return replace(problem, stream=stream, evaluate=evaluate)


def _of_training(data: ArcData) -> ArcData:
    """The held-out tasks of corpora of training tasks, by which settings are chosen; all if there is no such corpus."""
    names = [data.corpora.tasks[place].corpus for place in data.places]
    kept = [n for n, name in enumerate(names) if "training" in name] or list(range(len(names)))
    return replace(data, held_out=[data.held_out[n] for n in kept], places=[data.places[n] for n in kept])


@torch.inference_mode()
def _held_out_loss(what: Recipe, config: TrainConfig, data: ArcData, model: TRM, table: torch.Tensor) -> float | None:
    """Mean cross-entropy per cell of the held-out outputs of training tasks, each in some variants."""
    if config.canvases.mode != "exact":
        return None
    part = _of_training(data)
    examples = [
        TaskExamples(task.test, *_variants(data.examples[place]), demonstrations=task.train)
        for task, place in zip(part.held_out, part.places, strict=True)
    ]
    stream = what.stream(examples, config.canvases, config.step_tokens, 0, CPU)
    batch = stream.draw(PACKED, LOSS_SAMPLES * sum(len(task.test) for task in part.held_out))
    assert batch.packing is not None
    x = model.embed(batch.inputs, Condition(table[batch.ids], batch.symmetry), batch.packing)
    output = model(x, model.fresh_state(len(batch.ids), batch.packing), batch.packing)
    losses = step_losses(output.logits, None, batch.labels, config.learner.loss, packing=batch.packing)
    return float(losses.tokens.mean())


def _variants(examples: TaskExamples) -> tuple[Any, np.ndarray]:
    return examples.variants, examples.rows


def _row(point: dict[str, Any]) -> dict[str, Any]:
    def solved(part: dict[str, float]) -> str:
        counts = (round(part[name] * part["outputs"]) for name in ("canonical", "pass@1", "pass@2"))
        return f"{', '.join(map(str, counts))} of {part['outputs']}"

    loss = point["held_out_loss"]
    return {
        "recipe": point["recipe"],
        "seed": point["seed"],
        "FLOP": si(point["flops"]),
        "steps": point["steps"],
        "CPU s": round(point["cpu_seconds"]),
        "exact": f"{point['exact']:.1%}",
        "held-out loss": "–" if loss is None else f"{loss:.3f}",
        "canonical, pass@1, 2: all": solved(point["all"]),
        "of training tasks": solved(point["of_training_tasks"]),
        "CPU s of 16 votes": f"{point['prediction_cpu_seconds']:.1f}",
    }
