"""Variants of test inputs through the model, in batches, with what an analysis wants to know of each.

Letters: N examples (variants of test inputs), (H, W) a canvas, S supervision steps, V variants of a test input.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kernels import tally_numba, tally_torch
from kernels.canvas import FIRST_COLOUR, IGNORE, Canvas, Decoder
from kernels.symmetry import COLOURS, MAX_SIDE
from kernels.tally import keys as grid_keys
from solver.common.clock import Clock
from solver.model.device import is_out_of_memory
from solver.model.trm import TRM, Condition, State
from solver.predict import refine
from solver.settings.config import CanvasConfig, PredictConfig, TRMConfig
from solver.tokens.canvases import predict_canvas
from solver.tokens.encode import Encoder
from solver.tokens.variants import Variants
from train_offline.analysis.inputs import Subject
from train_offline.flops import forward_flops

FULL = (MAX_SIDE, MAX_SIDE)


class Examples(NamedTuple):
    """Which variant of which test input, and what the model is told it is; (N,) each but for permutations."""

    test: np.ndarray  # number of the test input over all tasks
    row: np.ndarray  # of the puzzle embedding table
    symmetry: np.ndarray  # as the input is shown
    permutation: np.ndarray  # (N, 10)
    told_symmetry: np.ndarray  # as the augmentation tokens of a shared embedding say
    told_permutation: np.ndarray  # (N, 10)

    def at(self, chosen: np.ndarray | slice) -> "Examples":
        """Some of the examples."""
        return Examples(*(part[chosen] for part in self))


class Answers(NamedTuple):
    """What came out; (N,) each. With a leading axis of S, after each step."""

    key: np.ndarray  # int64, of the grid with its variant undone; 0 for an empty grid
    right: np.ndarray  # bool, whether it is the true output
    halting: np.ndarray  # probability


class Trajectory(NamedTuple):
    """What there is after each supervision step of each example: (S, N) each."""

    answers: Answers
    cells: np.ndarray  # share of the true output's cells whose token is right
    same: np.ndarray  # bool, no token has changed since the step before (before the first: since all padding)


class Spent(NamedTuple):
    """What a pass took."""

    steps: int  # supervision steps, summed over the examples
    flops: float  # of those, by `train_offline.flops`
    seconds: float
    cpu_seconds: float  # of all threads: on a machine that others use it tells more


Work = Callable[[Tensor, Condition, Canvas, np.ndarray], None]
"""What is done with a batch: input tokens (B, H*W), condition, canvas, and the examples' numbers (B,)."""


class Bench:
    """The test inputs of a subject, ready to be run through its model in batches."""

    def __init__(
        self, subject: Subject, batch_tokens: int, decoder: Decoder = "robust", canvases: CanvasConfig | None = None
    ) -> None:
        self.subject, self.model, self._decoder = subject, subject.knowledge.model, decoder
        self._most_tokens, tasks = batch_tokens, subject.tasks
        pairs = [pair for task in tasks for pair in task.test]
        outputs = [pair.output for pair in pairs if pair.output is not None]
        assert len(outputs) == len(pairs), "open_subject keeps test pairs with outputs only"
        places = canvases or subject.canvases
        upright = [predict_canvas(task, index, places) for task in tasks for index in range(len(task.test))]
        self._canvas = np.array(upright)  # (tests, 2)
        self._inputs = Encoder([pair.input for pair in pairs], subject.device)
        self._outputs = Encoder(outputs, subject.device)
        self._area = np.array([output.size for output in outputs])
        self.truths = np.array([truth_key(output) for output in outputs])
        self.task = subject.task_of_test
        counts = [len(subject.rows[task]) for task in self.task]
        self.starts = np.concatenate([[0], np.cumsum(counts)])  # where each test's examples begin; the canonical first
        self.bar: tqdm = tqdm(disable=True)

    def examples(self) -> Examples:
        """Every variant of every test input, test by test, each told what it is."""
        variants, rows = self.subject.variants, self.subject.rows
        test = np.repeat(np.arange(len(self.task)), np.diff(self.starts))
        symmetry = np.concatenate([variants[task].symmetry for task in self.task])
        permutation = np.concatenate([variants[task].permutation for task in self.task])
        row = np.concatenate([rows[task] for task in self.task])
        return Examples(test, row, symmetry, permutation, symmetry, permutation)

    @contextlib.contextmanager
    def progress(self, what: str, flops: float) -> Iterator[None]:
        """Draw a bar of so many FLOPs, the work in all; samples that stop early are counted as if they had not."""
        shape = "{l_bar}{bar}| {elapsed}, {remaining} left"
        with tqdm(total=flops, desc=what, bar_format=shape, mininterval=0.5) as self.bar:
            yield
            self.bar.update(max(0.0, flops - self.bar.n))

    def flops(self, examples: Examples, config: TRMConfig, steps: int = 1) -> float:
        """Of so many supervision steps of some examples."""
        canvas, count = np.unique(self._canvas[examples.test], axis=0, return_counts=True)
        each = [forward_flops(config, (int(h), int(w))) for h, w in canvas]
        return steps * float(count @ np.array(each))

    @torch.inference_mode()
    def run(self, examples: Examples, work: Work, step: TRMConfig, steps: int, table: Tensor | None = None) -> None:
        """Do some work with every batch; `step` and `steps` say what the bar counts for it.

        A batch that does not fit into memory is halved and done again, so work must not mind that. `table` stands in
        for the puzzle embedding table.
        """
        table = self.subject.knowledge.table if table is None else table
        device, autocast = self.subject.device, self.subject.autocast
        for canvas, numbers in self._by_canvas(examples):
            start = 0
            while start < len(numbers):
                tokens = canvas[0] * canvas[1] + self.model.config.puzzle_tokens
                chosen = numbers[start : start + max(1, self._most_tokens // tokens)]
                batch = examples.at(chosen)
                try:
                    with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                        work(self._encode(batch, canvas), self._condition(batch, table), canvas, chosen)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error) or len(chosen) == 1:
                        raise
                    self._most_tokens = len(chosen) * tokens // 2
                    continue
                start += len(chosen)
                self.bar.update(steps * len(chosen) * forward_flops(step, canvas))

    def canvases_of(self, examples: Examples) -> np.ndarray:
        """Height and width (N, 2) of the canvas that each example is computed on."""
        turned = Variants(examples.symmetry, examples.permutation).transposes
        upright = self._canvas[examples.test]
        return np.where(turned[:, None], upright[:, ::-1], upright)

    def _by_canvas(self, examples: Examples) -> list[tuple[Canvas, np.ndarray]]:
        """Canvases, small ones first, and the numbers of the examples on each."""
        canvases, of_example = np.unique(self.canvases_of(examples), axis=0, return_inverse=True)
        groups = [((int(h), int(w)), np.flatnonzero(of_example.reshape(-1) == n)) for n, (h, w) in enumerate(canvases)]
        return sorted(groups, key=lambda group: group[0][0] * group[0][1])

    def _encode(self, batch: Examples, canvas: Canvas) -> Tensor:
        origin = np.zeros((len(batch.test), 2), np.int64)
        return self._inputs(batch.test, Variants(batch.symmetry, batch.permutation), origin, canvas)

    def _condition(self, batch: Examples, table: Tensor) -> Condition:
        row, symmetry, permutation = (
            torch.from_numpy(part.astype(np.int64)).to(table.device)
            for part in (batch.row, batch.told_symmetry, batch.told_permutation)
        )
        return Condition(table[row], symmetry, permutation)

    def decode(self, tokens: Tensor, colours: Tensor, batch: Examples) -> tuple[np.ndarray, np.ndarray]:
        """Keys (B,) of the grids in tokens and colours (B, H, W) with their variants undone, and which are right."""
        if tokens.device.type == "cpu":
            sizes = tally_numba.DECODERS[self._decoder](tokens.numpy())
            keys = tally_numba.keys(colours.numpy(), sizes, batch.symmetry, batch.permutation)
        else:
            there = tally_torch.DECODERS[self._decoder](tokens)
            symmetry, permutation = (torch.from_numpy(p).to(tokens.device) for p in (batch.symmetry, batch.permutation))
            keys = tally_torch.keys(colours, there, symmetry, permutation).cpu().numpy()
        return keys, (keys == self.truths[batch.test]) & (keys != 0)

    def read(self, logits: Tensor, batch: Examples, canvas: Canvas) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Keys (B,), which are right (B,), and shares of right cells (B,), from logits (B, H*W, V)."""
        best = logits.argmax(dim=-1)
        colours = logits[..., FIRST_COLOUR:].argmax(dim=-1).to(torch.uint8).view(-1, *canvas)
        keys, right = self.decode(best.to(torch.int8).view(-1, *canvas), colours, batch)
        return keys, right, self._right_cells(best.view(-1, *canvas), batch)

    def _right_cells(self, best: Tensor, batch: Examples) -> np.ndarray:
        """(B,); cells of a true output that do not lie on the canvas are wrong."""
        variants, origin = Variants(batch.symmetry, batch.permutation), np.zeros((len(batch.test), 2), np.int64)
        label = self._outputs(batch.test, variants, origin, FULL, IGNORE).view(-1, *FULL)
        label = label[:, : best.shape[1], : best.shape[2]]
        hits = ((best == label) & (label >= FIRST_COLOUR)).sum(dim=(1, 2)).cpu().numpy()
        return np.asarray(hits / self._area[batch.test])


def truth_key(grid: np.ndarray) -> int:
    """The key of a grid as it is."""
    size, nothing = np.array([grid.shape]), np.zeros(1, np.int64)
    return int(grid_keys(grid[None], size, nothing, np.arange(COLOURS)[None])[0])


def with_recursion(model: TRM, config: TRMConfig) -> TRM:
    """The same weights under another config, which may differ in cycles and latent updates only; `model` stays."""
    twin = TRM.__new__(TRM)
    twin.__dict__.update(model.__dict__)  # tensors, layers and rotary tables are the same objects
    twin.config = config
    return twin


def answer(
    bench: Bench, examples: Examples, config: PredictConfig, table: Tensor | None = None
) -> tuple[Answers, Spent]:
    """The answers (N,) as `arc-trm solve` predicts them."""
    count, began = len(examples.test), _now()
    found = Answers(np.zeros(count, np.int64), np.zeros(count, bool), np.zeros(count))
    spent: dict[int, tuple[int, float]] = {}  # by a batch's first example: one that is done again is not counted twice

    def work(inputs: Tensor, condition: Condition, canvas: Canvas, chosen: np.ndarray) -> None:
        (tokens, colours, halting), steps = refine(bench.model, inputs, condition, canvas, config, Clock())
        batch = examples.at(chosen)
        keys, right = bench.decode(tokens.view(-1, *canvas), colours.view(-1, *canvas), batch)
        found.key[chosen], found.right[chosen], found.halting[chosen] = keys, right, halting.double().cpu().numpy()
        spent[int(chosen[0])] = steps, steps * forward_flops(bench.model.config, canvas)

    bench.run(examples, work, bench.model.config, config.supervision_steps, table)
    steps, flops = (sum(column) for column in zip(*spent.values(), strict=True))
    return found, Spent(int(steps), flops, *(_now() - began).tolist())


def trajectory(bench: Bench, examples: Examples, steps: int, model: TRM | None = None) -> tuple[Trajectory, Spent]:
    """What there is after each of so many supervision steps (S, N), none left out."""
    network, shape, began = model or bench.model, (steps, len(examples.test)), _now()
    answers = Answers(np.zeros(shape, np.int64), np.zeros(shape, bool), np.zeros(shape))
    cells, same = np.zeros(shape), np.zeros(shape, bool)

    def work(inputs: Tensor, condition: Condition, canvas: Canvas, chosen: np.ndarray) -> None:
        x = network.embed(inputs, condition, canvas)
        state: State = network.fresh_state(len(x), canvas)
        before, batch = torch.zeros_like(inputs), examples.at(chosen)
        for step in range(steps):
            state, logits, halting = network(x, state, canvas)
            best = logits.argmax(dim=-1)
            same[step, chosen], before = (best == before).all(dim=1).cpu().numpy(), best
            answers.key[step, chosen], answers.right[step, chosen], cells[step, chosen] = bench.read(
                logits, batch, canvas
            )
            answers.halting[step, chosen] = halting[:, 0].float().sigmoid().double().cpu().numpy()

    bench.run(examples, work, network.config, steps)
    spent = Spent(steps * shape[1], bench.flops(examples, network.config, steps), *(_now() - began).tolist())
    return Trajectory(answers, cells, same), spent


def _now() -> np.ndarray:
    """Seconds by the clock and of this process."""
    return np.array([time.perf_counter(), time.process_time()])
