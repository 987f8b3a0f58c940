"""Prediction: variants of test inputs through the network, in batches that shrink as answers settle.

Letters: K samples, (H, W) a canvas, S = H*W its cells.
"""

import logging
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kernels.canvas import FIRST_COLOUR, Canvas
from solver.common.clock import Clock
from solver.model.device import is_out_of_memory
from solver.model.trm import TRM, Condition, State
from solver.model.weights import Fitted
from solver.settings.config import CanvasConfig, PredictConfig
from solver.tasks.task import Task
from solver.tokens.canvases import predict_canvas
from solver.tokens.encode import Encoder
from solver.tokens.variants import Variants

PROBE_TOKENS = 4096  # in the first batch under a deadline, before the pace is known
STEP_SHARE = 0.05  # of the time left that one supervision step may take
MOST_REFINEMENTS = 64  # supervision steps after which answers are told one by one

log = logging.getLogger("arc_trm")


class Samples(NamedTuple):
    """Which variant of which test input; (K,) each but for the permutation."""

    test: np.ndarray  # number of the test input over all tasks
    row: np.ndarray  # of the puzzle embedding table
    symmetry: np.ndarray
    permutation: np.ndarray  # (K, 10)

    def at(self, chosen: np.ndarray | slice) -> "Samples":
        """Some of the samples."""
        return Samples(*(part[chosen] for part in self))


class Predictions(NamedTuple):
    """What the network answered for some samples, still in the variant's symmetry and colours."""

    samples: Samples
    tokens: Tensor  # (K, H, W) int8, the best token of each cell
    colours: Tensor  # (K, H, W) uint8, the best colour of each cell
    halting: Tensor  # (K,) halting probability
    steps: int  # supervision steps spent, summed over the samples


class Answers(NamedTuple):
    """What the network answers for K samples after a supervision step."""

    tokens: Tensor  # (K, …) int8, the best token of each cell
    colours: Tensor  # (K, …) uint8, the best colour of each cell
    halting: Tensor  # (K,) halting probability


class Predictor:
    """The test inputs of some tasks, ready to be run through a fitted model."""

    def __init__(self, tasks: Sequence[Task], fitted: Fitted, config: PredictConfig, canvases: CanvasConfig) -> None:
        self._fitted, self._config = fitted, config
        self._device = fitted.table.device
        self._task_of_test = np.array([t for t, task in enumerate(tasks) for _ in task.test])
        self.canvases = [predict_canvas(task, i, canvases) for task in tasks for i in range(len(task.test))]
        self._encoder = Encoder([pair.input for task in tasks for pair in task.test], self._device)
        wanted = max(len(v) for v in fitted.variants)
        self._most_tokens = config.batch_tokens
        self._pace: float | None = None  # seconds a token and supervision step, measured in the last batch
        self.votes = wanted if config.augmentations is None else min(wanted, config.augmentations)

    def run(
        self,
        first: int,
        last: int,
        clock: Clock,
        autocast: torch.dtype | None = None,
        tests: Collection[int] | None = None,
    ) -> Iterator[Predictions]:
        """Predict variants first…last-1 of test inputs (None: of all), batch by batch, until the clock runs out."""
        wanted = range(len(self.canvases)) if tests is None else sorted(tests)
        for canvas, samples in self._by_canvas(first, last, wanted).items():
            start = 0
            while start < len(samples.test) and not clock.expired():
                batch = samples.at(slice(start, start + self._batch_size(canvas, clock)))
                began = clock.elapsed()
                try:
                    predictions = self._predict(batch, canvas, clock, autocast)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    self._most_tokens = len(batch.test) * self._tokens(canvas) // 2
                    if len(batch.test) == 1:
                        log.warning("predict: out of memory with one sample on canvas %s: %s", canvas, error)
                        start += 1
                    continue
                start += len(batch.test)
                self._pace = (clock.elapsed() - began) / (predictions.steps * self._tokens(canvas))
                yield predictions

    def refinements(
        self, tests: Collection[int], clock: Clock, autocast: torch.dtype | None = None
    ) -> Iterator[tuple[np.ndarray, list[Answers]]]:
        """The task as it is, after every supervision step: no sample leaves early, so that each has all its steps.

        Yields the numbers (K,) of some of `tests` and their answers (K, H, W) on the CPU, MOST_REFINEMENTS at the most.
        What the clock interrupts is not told. Raises what torch raises where memory is short.
        """
        for canvas, samples in self._by_canvas(0, 1, sorted(tests)).items():
            start = 0
            while start < len(samples.test) and not clock.expired():
                batch = samples.at(slice(start, start + self._batch_size(canvas, clock)))
                start += len(batch.test)
                answers = self._refinements(batch, canvas, clock, autocast)
                if not clock.expired():
                    yield batch.test, answers

    def refinement_seconds(self, tests: Collection[int]) -> float | None:
        """What `refinements` should take by the pace of the last batch; None before one."""
        tokens = sum(self._tokens(self.canvases[test]) for test in tests)
        return None if self._pace is None else self._pace * tokens * self._refinement_steps

    @property
    def _refinement_steps(self) -> int:
        return min(self._config.supervision_steps, MOST_REFINEMENTS)

    @torch.inference_mode()
    def _refinements(
        self, samples: Samples, canvas: Canvas, clock: Clock, autocast: torch.dtype | None
    ) -> list[Answers]:
        inputs, condition = self._encoded(samples, canvas)
        model, told = self._fitted.model, []
        with torch.autocast(self._device.type, dtype=autocast, enabled=autocast is not None):
            x = model.embed(inputs, condition, canvas)
            state = model.fresh_state(len(x), canvas)
            for _ in range(self._refinement_steps):
                state, logits, q = model(x, state, canvas)
                tokens, colours, halting = (part.cpu() for part in read_answers(logits, q))
                told.append(Answers(tokens.view(-1, *canvas), colours.view(-1, *canvas), halting))
                if clock.expired():
                    break
        return told

    def _tokens(self, canvas: Canvas) -> int:
        return canvas[0] * canvas[1] + self._fitted.model.config.puzzle_tokens

    def _batch_size(self, canvas: Canvas, clock: Clock) -> int:
        """Samples in the next batch: what memory allows, and so few that one step cannot pass the deadline."""
        tokens = self._most_tokens
        if clock.limit < math.inf:
            affordable = PROBE_TOKENS if self._pace is None else int(STEP_SHARE * max(0.0, clock.left()) / self._pace)
            tokens = min(tokens, affordable)
        return max(1, tokens // self._tokens(canvas))

    def _by_canvas(self, first: int, last: int, tests: Iterable[int]) -> dict[Canvas, Samples]:
        """The samples of some variants, grouped by the canvas they are computed on."""
        groups: dict[Canvas, list[Samples]] = {}
        for test in tests:
            task, upright = self._task_of_test[test], self.canvases[test]
            variants, rows = self._fitted.variants[task], self._fitted.rows[task][first:last]
            symmetry, permutation = (part[first:last] for part in variants)
            samples = Samples(np.full(len(rows), test), rows, symmetry, permutation)
            turned = variants.transposes[first:last]
            for turn, canvas in ((False, upright), (True, upright[::-1])):
                groups.setdefault(canvas, []).append(samples.at(turned == turn))
        joined = {
            canvas: Samples(*(np.concatenate(parts) for parts in zip(*group, strict=True)))
            for canvas, group in groups.items()
        }
        return {canvas: samples for canvas, samples in joined.items() if len(samples.test)}

    def _encoded(self, samples: Samples, canvas: Canvas) -> tuple[Tensor, Condition]:
        """Tokens (K, S) of the samples' inputs, and what the network is told of their tasks and variants."""
        offset = np.zeros((len(samples.test), 2), np.int64)
        variants = Variants(samples.symmetry, samples.permutation)
        inputs = self._encoder(samples.test, variants, offset, canvas)
        row, symmetry, permutation = (
            torch.from_numpy(part.astype(np.int64)).to(self._device)
            for part in (samples.row, samples.symmetry, samples.permutation)
        )
        return inputs, Condition(self._fitted.table[row], symmetry, permutation)

    @torch.inference_mode()
    def _predict(self, samples: Samples, canvas: Canvas, clock: Clock, autocast: torch.dtype | None) -> Predictions:
        inputs, condition = self._encoded(samples, canvas)
        with torch.autocast(self._device.type, dtype=autocast, enabled=autocast is not None):
            answer = refine(self._fitted.model, inputs, condition, canvas, self._config, clock)
        tokens, colours, halting, steps = answer
        return Predictions(samples, tokens.view(-1, *canvas), colours.view(-1, *canvas), halting, steps)


def refine(
    model: TRM, inputs: Tensor, condition: Condition, canvas: Canvas, config: PredictConfig, clock: Clock
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Supervision steps until every sample is done, or the clock runs out after the first.

    inputs (K, S). Returns best tokens (K, S) int8, best colours (K, S) uint8, halting probabilities (K,), steps spent.
    """
    x = model.embed(inputs, condition, canvas)
    state = model.fresh_state(len(x), canvas)
    tokens = torch.zeros(inputs.shape, dtype=torch.int8, device=inputs.device)
    colours, halting = torch.zeros_like(tokens, dtype=torch.uint8), torch.zeros(len(x), device=x.device)
    active = torch.arange(len(x), device=x.device)  # sample of each row still in work
    stable = torch.zeros_like(active)
    spent = 0
    for _ in range(config.supervision_steps):
        state, logits, q = model(x, state, canvas)
        spent += len(active)
        answers = read_answers(logits, q)
        stable = torch.where((answers.tokens == tokens[active]).all(dim=1), stable + 1, 0)
        tokens[active], colours[active], halting[active] = answers
        if clock.expired():
            break
        if config.early_stop:
            going = (stable < config.stable_steps) & (halting[active] < config.halting_threshold)
            kept = _worth_keeping(going)
            if len(kept) == 0:
                break
            if len(kept) < len(active):
                active, stable, x, state = active[kept], stable[kept], x[kept], State(*(part[kept] for part in state))
    return tokens, colours, halting, spent


def read_answers(logits: Tensor, q: Tensor) -> Answers:
    """What logits (K, S, tokens) and halting logits (K, 2) say: answers (K, S)."""
    colours = logits[..., FIRST_COLOUR:].argmax(dim=-1).to(torch.uint8)
    return Answers(logits.argmax(dim=-1).to(torch.int8), colours, q[:, 0].float().sigmoid())


def _worth_keeping(going: Tensor) -> Tensor:
    """Rows to go on with: all while few are done (a smaller batch must pay for its copy), else those not done."""
    left = int(going.sum())
    if left > 0 and left > 0.75 * len(going):
        return torch.arange(len(going), device=going.device)
    return going.nonzero()[:, 0]
