"""Prediction: variants of test inputs through the network, in batches that shrink as answers settle.

Letters: K samples, A of them still in work, (H, W) a canvas, S = H*W its cells, V vocabulary.
"""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from kernels.canvas import END_OF_GRID, FIRST_COLOUR, Canvas
from solver.common.clock import Clock
from solver.model.compiled import warm_up
from solver.model.device import free_memory, in_precision, is_out_of_memory, pass_tokens
from solver.model.trm import TRM, Condition, Output, State
from solver.model.weights import Fitted
from solver.model.without_data import ROOM, without_data
from solver.settings.config import CanvasConfig, PredictConfig, TRMConfig
from solver.tasks.task import Task
from solver.tokens.canvases import known_output, predict_canvas
from solver.tokens.encode import Encoder
from solver.tokens.variants import Variants

PROBE_TOKENS = 4096  # in the first batch under a deadline, before the pace is known
STEP_SHARE = 0.05  # of the time left that one supervision step may take
MOST_STEPS_RECORDED = 64  # supervision steps whose answers are kept for the report

log = logging.getLogger("arc_trm")

Result = TypeVar("Result")


class Samples(NamedTuple):
    """Which variant of which test input; (K,) each but for the permutation."""

    test: np.ndarray  # number of the test input over all tasks
    row: np.ndarray  # of the puzzle embedding table
    symmetry: np.ndarray
    permutation: np.ndarray  # (K, 10)

    def at(self, chosen: np.ndarray | slice) -> "Samples":
        return Samples(*(part[chosen] for part in self))


class Readout(NamedTuple):
    """The best answers by the logits of one supervision step."""

    tokens: Tensor  # (K, …) int8, the best token of each cell
    colours: Tensor  # (K, …) uint8, the best colour of each cell
    halting: Tensor  # (K,) halting probability


class Predictions(NamedTuple):
    """Final answers for some samples, still in the variant's symmetry and colours."""

    samples: Samples
    tokens: Tensor  # (K, H, W) int8
    colours: Tensor  # (K, H, W) uint8
    halting: Tensor  # (K,)


class Predictor:
    """The test inputs of some tasks, ready to run through a fitted model."""

    def __init__(
        self,
        tasks: Sequence[Task],
        fitted: Fitted,
        config: PredictConfig,
        canvases: CanvasConfig,
        autocast: torch.dtype | None = None,
    ) -> None:
        self._fitted, self._config, self._autocast = fitted, config, autocast
        self._device = fitted.table.device
        self._task_of_test = np.array([t for t, task in enumerate(tasks) for _ in task.test])
        self.canvases = [predict_canvas(task, i, canvases) for task in tasks for i in range(len(task.test))]
        self._sizes = [known_output(task, i, canvases) for task in tasks for i in range(len(task.test))]
        self._encoder = Encoder([pair.input for task in tasks for pair in task.test], self._device)
        self._limit = BatchLimit(self._most_tokens())
        self._pace: float | None = None  # seconds per token and supervision step, measured in the last batch
        warm_up(fitted.model, autocast)

    def run(self, first: int, last: int, clock: Clock, tests: Collection[int] | None = None) -> Iterator[Predictions]:
        """Predict variants first…last-1 of test inputs (None: of all), batch by batch, until the clock runs out."""
        wanted = range(len(self.canvases)) if tests is None else sorted(tests)
        for canvas, samples in self._by_canvas(first, last, wanted).items():
            for predictions in self._in_batches(samples, canvas, clock, self._predict):
                if predictions is not None:
                    yield predictions

    def answers_by_step(self, tests: Collection[int], clock: Clock) -> Iterator[tuple[np.ndarray, list[Readout]]]:
        """Predict the unchanged task and keep the answers after every supervision step; no sample leaves early.

        Yields the numbers (K,) of some of `tests` and their answers (K, H, W) on the CPU, MOST_STEPS_RECORDED at most.
        A batch cut off by the clock is dropped. Raises torch's error when memory runs out.
        """
        for canvas, samples in self._by_canvas(0, 1, sorted(tests)).items():
            start = 0
            for answers in self._in_batches(samples, canvas, clock, self._record):
                stop = start + len(answers[0].halting)
                if not clock.expired():
                    yield samples.test[start:stop], answers
                start = stop

    def seconds_by_step(self, tests: Collection[int]) -> float | None:
        """Expected seconds of `answers_by_step`, by the pace of the last batch; None before any batch."""
        tokens = sum(self._tokens(self.canvases[test]) for test in tests)
        return None if self._pace is None else self._pace * tokens * self._recorded_steps

    @property
    def _recorded_steps(self) -> int:
        return min(self._config.supervision_steps, MOST_STEPS_RECORDED)

    def _most_tokens(self) -> int:
        """Tokens of a batch: as many as are set or suit the device, less where memory is short."""
        model = self._fitted.model.config
        usual = pass_tokens(self._device, model.width, training=False)
        most = self._config.batch_tokens or usual
        if self._device.type == "cpu" and most <= usual:
            return most  # a usual batch of a CPU is small
        each = bytes_per_token(model, max(self.canvases, key=self._tokens), self._autocast)
        return max(1, min(most, int(ROOM * free_memory(self._device) / each)))

    def _tokens(self, canvas: Canvas) -> int:
        return canvas[0] * canvas[1] + self._fitted.model.config.puzzle_tokens

    def _in_batches(
        self, samples: Samples, canvas: Canvas, clock: Clock, work: Callable[[Samples, Canvas, Clock], Result]
    ) -> Iterator[Result]:
        """`in_batches` so small that one supervision step cannot pass the deadline; ends when the clock runs out."""

        def affordable() -> float:
            if clock.limit == math.inf:
                return math.inf
            return PROBE_TOKENS if self._pace is None else STEP_SHARE * max(0.0, clock.left()) / self._pace

        if clock.expired():
            return

        def do(chosen: slice) -> Result:
            return work(samples.at(chosen), canvas, clock)

        for result in in_batches(len(samples.test), self._tokens(canvas), self._limit, do, affordable):
            yield result
            if clock.expired():
                return

    def _by_canvas(self, first: int, last: int, tests: Iterable[int]) -> dict[Canvas, Samples]:
        """The samples of variants first…last-1, grouped by the canvas they are computed on."""
        groups: dict[Canvas, list[Samples]] = {}
        for test in tests:
            task, upright = self._task_of_test[test], self.canvases[test]
            variants, rows = self._fitted.variants[task], self._fitted.rows[task][first:last]
            symmetry, permutation = (part[first:last] for part in variants)
            samples = Samples(np.full(len(rows), test), rows, symmetry, permutation)
            turned = variants.transposes[first:last]
            for turn, canvas in ((False, upright), (True, upright[::-1])):
                if (turned == turn).any():
                    groups.setdefault(canvas, []).append(samples.at(turned == turn))
        return {
            canvas: Samples(*(np.concatenate(parts) for parts in zip(*group, strict=True)))
            for canvas, group in groups.items()
        }

    def _encode(self, samples: Samples, canvas: Canvas) -> tuple[Tensor, Condition]:
        """Tokens (K, S) of the samples' inputs, and the puzzle embedding and augmentation of each."""
        origin = np.zeros((len(samples.test), 2), np.int64)
        variants = Variants(samples.symmetry, samples.permutation)
        inputs = self._encoder(samples.test, variants, origin, canvas)
        row, symmetry = self._encoder.upload(samples.row, samples.symmetry)
        return inputs, Condition(self._fitted.table[row], symmetry)

    @torch.no_grad()  # not inference mode, which would need compiled networks of its own
    def _predict(self, samples: Samples, canvas: Canvas, clock: Clock) -> Predictions | None:
        """The answers for one batch; None where memory is short for a single sample, which is left out."""
        began = clock.elapsed()
        try:
            inputs, condition = self._encode(samples, canvas)
            with in_precision(self._device, self._autocast):
                answers, steps = refine(self._fitted.model, inputs, condition, canvas, self._config, clock)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(samples.test) > 1:
                raise
            log.warning("predict: out of memory with one sample on canvas %s: %s", canvas, error)
            return None
        answers.halting[-1].item()  # until now the work may only have been launched
        self._pace = (clock.elapsed() - began) / (steps * self._tokens(canvas))
        tokens, colours = answers.tokens.view(-1, *canvas), answers.colours.view(-1, *canvas)
        return Predictions(samples, self._of_known_size(samples, tokens, colours), colours, answers.halting)

    def _of_known_size(self, samples: Samples, tokens: Tensor, colours: Tensor) -> Tensor:
        """The tokens (K, H, W) with the best colour in every cell of an output whose size is known, and its end.

        Without this a stray end-of-grid token would cost such a vote its size, and a beginner's vote its grid.
        """
        sizes = np.array([self._sizes[test] for test in samples.test])
        turned = Variants(samples.symmetry, samples.permutation).transposes
        height, width = self._encoder.upload(*np.where(turned[:, None], sizes[:, ::-1], sizes).T)
        row, column = (torch.arange(side, device=tokens.device) for side in tokens.shape[1:])
        inside = (row[:, None] < height[:, None, None]) & (column < width[:, None, None])
        known = torch.where(inside, colours.to(torch.int8) + FIRST_COLOUR, END_OF_GRID)
        return torch.where((height > 0)[:, None, None], known, tokens)

    @torch.no_grad()
    def _record(self, samples: Samples, canvas: Canvas, clock: Clock) -> list[Readout]:
        """The answers for one batch after each supervision step, on the CPU."""
        inputs, condition = self._encode(samples, canvas)
        recorded = []
        with in_precision(self._device, self._autocast):
            for _, output in supervision_steps(self._fitted.model, inputs, condition, canvas, self._recorded_steps):
                tokens, colours, halting = (part.cpu() for part in read(output))
                recorded.append(Readout(tokens.view(-1, *canvas), colours.view(-1, *canvas), halting))
                if clock.expired():
                    break
        return recorded


def supervision_steps(
    model: TRM, inputs: Tensor, condition: Condition, canvas: Canvas, most: int, going: Tensor | None = None
) -> Iterator[tuple[Tensor, Output]]:
    """Run up to `most` supervision steps on inputs (K, S), each from the state that the one before left.

    Yields, after each step, the numbers (A,) of the samples in work and their output. The caller may clear entries of
    `going` (K,) bool between steps: those samples then leave the batch, and the steps end when none is left.
    """
    x = model.embed(inputs, condition, canvas)
    state = model.fresh_state(len(x), canvas)
    active = torch.arange(len(x), device=x.device)
    for left in reversed(range(most)):
        output = model(x, state, canvas)
        state = output.state
        yield active, output
        if going is None or left == 0:
            continue
        kept = going[active].nonzero()[:, 0]
        if len(kept) == 0:
            return
        if len(kept) <= 0.75 * len(active):  # a smaller batch must pay for its copy
            active, x, state = active[kept], x[kept], State(*(part[kept] for part in state))


def refine(
    model: TRM, inputs: Tensor, condition: Condition, canvas: Canvas, config: PredictConfig, clock: Clock
) -> tuple[Readout, int]:
    """Supervision steps until every sample has settled, or the clock runs out after the first step.

    A sample has settled when its tokens have stayed the same for `stable_steps` steps or its halting probability has
    passed `halting_threshold`. inputs (K, S). Returns the last answers (K, S), and the supervision steps spent.
    """
    count, device = len(inputs), inputs.device
    answers = Readout(
        torch.zeros(inputs.shape, dtype=torch.int8, device=device),
        torch.zeros(inputs.shape, dtype=torch.uint8, device=device),
        torch.zeros(count, device=device),
    )
    stable = torch.zeros(count, dtype=torch.int64, device=device)  # steps without a change
    going = torch.ones(count, dtype=torch.bool, device=device) if config.early_stop else None
    spent = 0
    for active, output in supervision_steps(model, inputs, condition, canvas, config.supervision_steps, going):
        new = read(output)
        spent += len(active)
        same = (new.tokens == answers.tokens[active]).all(dim=1)
        stable[active] = torch.where(same, stable[active] + 1, 0)
        for all_samples, of_active in zip(answers, new, strict=True):
            all_samples[active] = of_active
        if clock.expired():
            break
        if going is not None:
            going[active] = (stable[active] < config.stable_steps) & (new.halting.float() < config.halting_threshold)
    return answers, spent


@cache
def bytes_per_token(model: TRMConfig, canvas: Canvas, autocast: torch.dtype | None) -> float:
    """Memory at the peak of a prediction, beside the weights: `refine` on samples without data."""
    count, cpu = 8, torch.device("cpu")
    with without_data(model) as (trunk, live), torch.no_grad(), in_precision(cpu, autocast and torch.bfloat16):
        cells, weights = canvas[0] * canvas[1], live.live
        inputs, ids = torch.zeros(count, cells, dtype=torch.int64), torch.zeros(count, dtype=torch.int64)
        condition = Condition(torch.zeros(count, model.row_width), ids)
        refine(trunk, inputs, condition, canvas, PredictConfig(supervision_steps=2, early_stop=False), Clock())
        return (live.peak - weights) / (count * (model.puzzle_tokens + cells))


def read(output: Output) -> Readout:
    """The best answers (A, S) by logits (A, S, V), and halting probabilities (A,)."""
    colours = output.logits[..., FIRST_COLOUR:].argmax(dim=-1).to(torch.uint8)
    halting = output.halting[:, 0].float().sigmoid().nan_to_num(0.0)  # not a number: the weights are far too large
    return Readout(output.logits.argmax(dim=-1).to(torch.int8), colours, halting)


@dataclass
class BatchLimit:
    """The most tokens in one batch, puzzle tokens included; lowered when memory runs out."""

    tokens: int


def in_batches(
    count: int,
    each: int,
    limit: BatchLimit,
    work: Callable[[slice], Result],
    affordable: Callable[[], float] = lambda: math.inf,
) -> Iterator[Result]:
    """The results of `work` on consecutive slices of `count` samples of `each` tokens.

    `affordable` returns how many tokens the time allows in the next batch. A batch that runs out of memory is halved
    and done again, so `work` must allow that; with a single sample the error is raised.
    """
    start = 0
    while start < count:
        size = max(1, int(min(limit.tokens, affordable())) // each)
        chosen = slice(start, min(count, start + size))
        try:
            result = work(chosen)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or chosen.stop - start == 1:
                raise
            limit.tokens = (chosen.stop - start) * each // 2
            continue
        start = chosen.stop
        yield result
