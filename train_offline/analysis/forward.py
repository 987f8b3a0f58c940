"""Runs variants of test inputs through the model in batches, and grades the answers.

Letters: N examples (variants of test inputs), (H, W) a canvas, S supervision steps, V variants of a test input.
"""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kernels import tally_numba, tally_torch
from kernels.canvas import FIRST_COLOUR, IGNORE, Canvas, Decoder
from kernels.symmetry import COLOURS, MAX_SIDE
from kernels.tally import keys as grid_keys
from solver.common.clock import Clock
from solver.model.device import in_precision
from solver.model.trm import TRM, Condition
from solver.predict import BatchLimit, in_batches, refine, supervision_steps
from solver.settings.config import CanvasConfig, PredictConfig, TRMConfig
from solver.tokens.canvases import predict_canvas
from solver.tokens.encode import Encoder
from solver.tokens.variants import Variants
from train_offline.analysis.inputs import Subject
from train_offline.analysis.vote_statistics import estimate, mean_of_tests, vote_hits
from train_offline.flops import forward_flops

FULL = (MAX_SIDE, MAX_SIDE)
Result = TypeVar("Result")


class Examples(NamedTuple):
    """Which variant of which test input, and its identity as the model sees it; (N,) each but for permutations."""

    test: np.ndarray  # number of the test input over all tasks
    row: np.ndarray  # of the puzzle embedding table
    symmetry: np.ndarray  # as the input is shown
    permutation: np.ndarray  # (N, 10)
    claimed_symmetry: np.ndarray  # given to the model; used if it has a row per task

    def at(self, chosen: np.ndarray | slice) -> "Examples":
        """Some of the examples."""
        return Examples(*(part[chosen] for part in self))


class Graded(NamedTuple):
    """Answers compared with the true outputs; (N,) each, or (S, N) after every supervision step."""

    key: np.ndarray  # int64, of the grid in the task's own symmetry and colours; 0 for an empty grid
    right: np.ndarray  # bool, whether the grid is the true output
    halting: np.ndarray  # probability


class Trajectory(NamedTuple):
    """The answers of each example after each supervision step: (S, N) each."""

    answers: Graded
    cells: np.ndarray  # share of the true output's cells with the right token
    same: np.ndarray  # bool, no token has changed since the previous step (at the first: since all padding)


class Spent(NamedTuple):
    """The cost of a run."""

    steps: int  # supervision steps, summed over the examples
    flops: float  # of these steps, by `train_offline.flops`
    seconds: float
    cpu_seconds: float  # of all threads; more reliable than `seconds` on a shared machine


Work = Callable[[Tensor, Condition, Canvas, np.ndarray], Result]
"""Processes one batch: input tokens (B, H*W), condition, canvas, and the examples' numbers (B,)."""


class Bench:
    """The test inputs of a subject, ready to run through its model in batches."""

    def __init__(
        self, subject: Subject, batch_tokens: int, decoder: Decoder = "robust", canvases: CanvasConfig | None = None
    ) -> None:
        self.subject, self.model, self._decoder = subject, subject.knowledge.model, decoder
        self._limit, tasks = BatchLimit(batch_tokens), subject.tasks
        pairs = [pair for task in tasks for pair in task.test]
        outputs = [pair.output for pair in pairs if pair.output is not None]
        assert len(outputs) == len(pairs), "open_subject keeps only test pairs with outputs"
        places = canvases or subject.canvases
        upright = [predict_canvas(task, index, places) for task in tasks for index in range(len(task.test))]
        self._canvas = np.array(upright)  # (tests, 2)
        self._inputs = Encoder([pair.input for pair in pairs], subject.device)
        self._outputs = Encoder(outputs, subject.device)
        self._area = np.array([output.size for output in outputs])
        self.truths = np.array([truth_key(output) for output in outputs])
        self.task = np.array([number for number, task in enumerate(tasks) for _ in task.test])  # of each test
        counts = [len(subject.rows[task]) for task in self.task]
        self.starts = np.concatenate([[0], np.cumsum(counts)])  # first example of each test, which is the canonical one
        self.bar: tqdm = tqdm(disable=True)

    def examples(self) -> Examples:
        """Every variant of every test input, test by test, with its true identity."""
        variants, rows = self.subject.variants, self.subject.rows
        test = np.repeat(np.arange(len(self.task)), np.diff(self.starts))
        symmetry = np.concatenate([variants[task].symmetry for task in self.task])
        permutation = np.concatenate([variants[task].permutation for task in self.task])
        row = np.concatenate([rows[task] for task in self.task])
        return Examples(test, row, symmetry, permutation, symmetry)

    @contextlib.contextmanager
    def progress(self, what: str, flops: float) -> Iterator[None]:
        """Draw a progress bar of `flops` in total; samples that stop early count in full."""
        shape = "{l_bar}{bar}| {elapsed}, {remaining} left"
        with tqdm(total=flops, desc=what, bar_format=shape, mininterval=0.5) as self.bar:
            yield
            self.bar.update(max(0.0, flops - self.bar.n))

    def flops(self, examples: Examples, config: TRMConfig, steps: int = 1) -> float:
        """FLOPs of `steps` supervision steps of the examples."""
        canvas, count = np.unique(self._canvas[examples.test], axis=0, return_counts=True)
        each = [forward_flops(config, (int(h), int(w))) for h, w in canvas]
        return steps * float(count @ np.array(each))

    @torch.inference_mode()
    def run(
        self, examples: Examples, work: Work[Result], step: TRMConfig, steps: int, table: Tensor | None = None
    ) -> list[Result]:
        """The results of `work` on all batches; the bar advances by `steps` supervision steps of the config `step`.

        A batch that does not fit into memory is halved and done again, so `work` must allow that. `table` replaces the
        puzzle embedding table.
        """
        table = self.subject.knowledge.table if table is None else table
        device, autocast, results = self.subject.device, self.subject.autocast, []
        canvases, of_example = np.unique(self.canvases_of(examples), axis=0, return_inverse=True)
        for number in np.argsort(canvases.prod(axis=1), kind="stable"):  # small canvases first
            height, width = canvases[number].tolist()
            here = np.flatnonzero(of_example.reshape(-1) == number)

            def do(chosen: slice, canvas: Canvas = (height, width), numbers: np.ndarray = here) -> tuple[int, Result]:
                batch = examples.at(numbers[chosen])
                origin = np.zeros((len(batch.test), 2), np.int64)
                inputs = self._inputs(batch.test, Variants(batch.symmetry, batch.permutation), origin, canvas)
                row, symmetry = self._inputs.upload(batch.row, batch.claimed_symmetry)
                condition = Condition(table[row], symmetry)
                with in_precision(device, autocast):
                    return len(batch.test), work(inputs, condition, canvas, numbers[chosen])

            tokens = height * width + self.model.config.puzzle_tokens
            for count, result in in_batches(len(here), tokens, self._limit, do):
                results.append(result)
                self.bar.update(steps * count * forward_flops(step, (height, width)))
        return results

    def canvases_of(self, examples: Examples) -> np.ndarray:
        """Height and width (N, 2) of the canvas of each example."""
        turned = Variants(examples.symmetry, examples.permutation).transposes
        upright = self._canvas[examples.test]
        return np.where(turned[:, None], upright[:, ::-1], upright)

    def decode(self, tokens: Tensor, colours: Tensor, batch: Examples) -> tuple[np.ndarray, np.ndarray]:
        """Keys (B,) of the grids in tokens and colours (B, H, W), variants undone, and which of them are right."""
        if tokens.device.type == "cpu":
            sizes = tally_numba.DECODERS[self._decoder](tokens.numpy())
            keys = tally_numba.keys(colours.numpy(), sizes, batch.symmetry, batch.permutation)
        else:
            there = tally_torch.DECODERS[self._decoder](tokens)
            symmetry, permutation = (torch.from_numpy(p).to(tokens.device) for p in (batch.symmetry, batch.permutation))
            keys = tally_torch.keys(colours, there, symmetry, permutation).cpu().numpy()
        return keys, (keys == self.truths[batch.test]) & (keys != 0)

    def grade(self, logits: Tensor, batch: Examples, canvas: Canvas) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Keys (B,), which are right (B,), and shares of right cells (B,), from logits (B, H*W, V).

        Cells of a true output that lie off the canvas count as wrong.
        """
        best = logits.argmax(dim=-1).view(-1, *canvas)
        colours = logits[..., FIRST_COLOUR:].argmax(dim=-1).to(torch.uint8).view(-1, *canvas)
        keys, right = self.decode(best.to(torch.int8), colours, batch)
        variants, origin = Variants(batch.symmetry, batch.permutation), np.zeros((len(batch.test), 2), np.int64)
        label = self._outputs(batch.test, variants, origin, FULL, IGNORE).view(-1, *FULL)
        label = label[:, : canvas[0], : canvas[1]]
        hits = ((best == label) & (label >= FIRST_COLOUR)).sum(dim=(1, 2)).cpu().numpy()
        return keys, right, np.asarray(hits / self._area[batch.test])


class Judge(NamedTuple):
    """Turns values of all examples into figures."""

    bench: Bench
    generator: np.random.Generator

    def __call__(self, values: np.ndarray) -> dict[str, float]:
        """Mean and interval of values per test output, (tests,)."""
        return estimate(values, self.bench.task, self.generator)

    def examples(self, values: np.ndarray) -> dict[str, float]:
        """Mean and interval of values per example, (N,); every test output counts once."""
        return self(mean_of_tests(values, self.bench.starts))

    def canonical(self, values: np.ndarray) -> dict[str, float]:
        """Mean and interval over the canonical examples among values (N,)."""
        return self(values[self.bench.starts[:-1]].astype(float))

    def votes(self, key: np.ndarray, halting: np.ndarray) -> dict[str, dict[str, float]]:
        """pass@1 and pass@2 of all votes (N,)."""
        hits = vote_hits(key, halting, self.bench.starts, self.bench.truths)
        return {"pass@1": self(hits[:, 0]), "pass@2": self(hits[:, 1])}


def truth_key(grid: np.ndarray) -> int:
    """The key of an untransformed grid."""
    size, nothing = np.array([grid.shape]), np.zeros(1, np.int64)
    return int(grid_keys(grid[None], size, nothing, np.arange(COLOURS)[None])[0])


def with_recursion(model: TRM, config: TRMConfig) -> TRM:
    """A copy that shares all weights, with a config that differs only in cycles and latent updates."""
    twin = copy.copy(model)
    twin.config = config
    return twin


def answer(
    bench: Bench, examples: Examples, config: PredictConfig, table: Tensor | None = None
) -> tuple[Graded, Spent]:
    """The answers (N,) as `arc-trm solve` predicts them."""
    count, began, cpu_began = len(examples.test), time.perf_counter(), time.process_time()
    found = Graded(np.zeros(count, np.int64), np.zeros(count, bool), np.zeros(count))

    def work(inputs: Tensor, condition: Condition, canvas: Canvas, chosen: np.ndarray) -> tuple[int, int]:
        (tokens, colours, halting), steps = refine(bench.model, inputs, condition, canvas, config, Clock())
        keys, right = bench.decode(tokens.view(-1, *canvas), colours.view(-1, *canvas), examples.at(chosen))
        found.key[chosen], found.right[chosen], found.halting[chosen] = keys, right, halting.double().cpu().numpy()
        return steps, steps * forward_flops(bench.model.config, canvas)

    spent = np.array(bench.run(examples, work, bench.model.config, config.supervision_steps, table), float)
    steps, flops = spent.sum(axis=0).tolist()
    return found, Spent(int(steps), flops, time.perf_counter() - began, time.process_time() - cpu_began)


def trajectory(bench: Bench, examples: Examples, steps: int, model: TRM | None = None) -> Trajectory:
    """The answers (S, N) after each of `steps` supervision steps, without early stopping."""
    network, shape = model or bench.model, (steps, len(examples.test))
    answers = Graded(np.zeros(shape, np.int64), np.zeros(shape, bool), np.zeros(shape))
    cells, same = np.zeros(shape), np.zeros(shape, bool)

    def work(inputs: Tensor, condition: Condition, canvas: Canvas, chosen: np.ndarray) -> None:
        batch, before = examples.at(chosen), torch.zeros_like(inputs)
        for step, (_, output) in enumerate(supervision_steps(network, inputs, condition, canvas, steps)):
            best = output.logits.argmax(dim=-1)
            same[step, chosen], before = (best == before).all(dim=1).cpu().numpy(), best
            keys, right, cells[step, chosen] = bench.grade(output.logits, batch, canvas)
            answers.key[step, chosen], answers.right[step, chosen] = keys, right
            answers.halting[step, chosen] = output.halting[:, 0].float().sigmoid().double().cpu().numpy()

    bench.run(examples, work, network.config, steps)
    return Trajectory(answers, cells, same)
