"""Test-time fitting: training on the augmented demonstrations of the given tasks. Test outputs are never used.

Source: arXiv 2511.02886 (all tasks jointly, embeddings start at the mean of the trained table, the trunk is frozen for
the first quarter).
"""

import copy
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from kernels.canvas import Canvas
from kernels.upload import upload
from solver.answers.fit_curve import FitCurve, Reading
from solver.common.checks import InputError
from solver.common.clock import Clock
from solver.learning.learner import Learner, Metrics
from solver.learning.memory import TrainingMemory
from solver.model.compiled import warm_up
from solver.model.device import free_memory, is_out_of_memory, pass_tokens
from solver.model.packing import PACKED
from solver.model.trm import TRM
from solver.model.weights import Fitted, Knowledge, name_rows
from solver.model.without_data import ROOM
from solver.settings.config import CanvasConfig, FitConfig
from solver.tasks.task import Task, permuted_colours, shown_colours
from solver.tokens.packed_stream import PackedStream, open_stream
from solver.tokens.shuffle import TaskExamples
from solver.tokens.stream import PairStream
from solver.tokens.variants import Variants, make_variants

FROZEN_SHARE = 0.25  # of a staged fit, during which the trunk is frozen
STEP_SHARE = 0.02  # of the remaining time, that one step may take
REPORT_EVERY = 10  # steps between readings of the loss, which wait for the device

log = logging.getLogger("arc_trm")


class Fitting:
    """A fit in parts: run it for a while, predict with the moving average, run it again.

    `start` is not changed. Tasks are visited in proportion to their weights (`focus`), by default equally often.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        variants: list[Variants],
        start: Knowledge,
        config: FitConfig,
        canvases: CanvasConfig,
        seed: int,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.variants = variants  # of each task
        self.steps, self.loss, self.exact = 0, math.nan, 0.0  # exact: recent share of sequences that are entirely right
        self.seconds, self.tokens = 0.0, 0  # over all steps so far
        self._warm_up = 0.0, 0  # seconds and tokens of the first step, which compiles and allocates
        self.curve = FitCurve()
        self.failed = False  # the loss is no longer finite
        self._exhausted = False  # no canvas fits into memory
        self._misfits: set[Canvas] = set()  # canvases of which not a single example fits into memory
        self._probed = math.nan
        self._unread: Metrics | None = None
        self._tasks, self._start, self._config, self._canvases, self._seed = tasks, start, config, canvases, seed
        table, self.rows, self.reused = starting_table(tasks, variants, start)
        self._weights = [1.0] * len(tasks)
        self._stream: PairStream | PackedStream | None = None
        self._streams = 0
        most = pass_tokens(table.device, start.model.config.width)
        self._step_tokens = max(config.step_tokens, most if table.device.type == "cuda" else 1)
        self._fresh = Fitted(start.model, table, variants, self.rows)
        self._learner: Learner | None = None
        if config.mode != "none":
            model, exploration = copy.deepcopy(start.model).train(), torch.Generator().manual_seed(seed)
            rows = nn.Parameter(table.clone())
            self._learner = Learner(model, rows, config.learner, exploration, autocast, chunk_tokens=most)

    @property
    def done(self) -> bool:
        """Whether the fit is complete or cannot continue."""
        enough = self._config.steps is not None and self.steps >= self._config.steps
        return self._learner is None or self.failed or self._exhausted or enough

    def focus(self, weights: Sequence[float]) -> None:
        """Set how often each task is visited from now on, relative to the others; 0: not at all."""
        if list(weights) != self._weights:
            self._weights, self._stream = list(weights), None

    def limit_step(self, clock: Clock) -> None:
        """Probe the pace, and limit the size of a step so that a slow machine keeps the deadline of `clock`."""
        if 0 < clock.left() < math.inf and not self.done:
            self._probed = probe_pace(self._start.model)
            self._step_tokens = min(self._step_tokens, max(1, int(STEP_SHARE * clock.left() / self._probed)))

    @property
    def pace(self) -> float:
        """Seconds per token per step: probed first, then measured; without step 1 (compilation) once there are more."""
        seconds, tokens = self._warm_up if self.steps > 1 else (0.0, 0)
        return (self.seconds - seconds) / (self.tokens - tokens) if self.tokens else self._probed

    def run(self, clock: Clock, first: float = 0.0, last: float = 1.0) -> Iterator[None]:
        """Fit until the clock expires or the fit is done. The schedule goes from `first` to `last` (0 to 1).

        Yields after every step.
        """
        learner, config = self._learner, self._config
        if learner is None or clock.expired() or not any(self._weights):
            return
        stream = self._stream or self._new_stream()
        if not self.steps and isinstance(stream, PairStream):  # packed steps are not compiled
            for frozen in sorted({config.mode == "embeddings", config.mode != "full"}):
                learner.model.requires_grad_(not frozen)
                warm_up(learner.model, learner.autocast, graded=True)
        began = clock.elapsed()
        seconds, before = clock.left(), self.seconds
        while not clock.expired() and not self.done:
            passed = first + (last - first) * (1 - clock.left() / seconds) if seconds < math.inf else first
            progress = max(passed, self.steps / config.steps if config.steps else 0.0)
            learner.freeze_trunk(config.mode == "embeddings" or (config.mode == "staged" and progress < FROZEN_SHARE))
            if not self._step(learner, stream, progress):
                break
            self.seconds = before + clock.elapsed() - began
            if self.steps == 1:
                self._warm_up = self.seconds, self.tokens
            yield
        if self._unread is not None:
            self._read(self._unread)

    def _new_stream(self) -> PairStream | PackedStream:
        parts = zip(self._tasks, self.variants, self.rows, self._weights, strict=True)
        examples = [TaskExamples(t.train, v, rows, weight) for t, v, rows, weight in parts if weight > 0]
        start, seed = self._start, self._seed + (self._streams << 32)
        self._streams += 1
        self._stream = open_stream(
            examples,
            start.model.config,
            self._config.learner,
            self._canvases,
            self._step_tokens,
            seed,
            start.table.device,
        )
        going = self._stream.leave_out(self._misfits)
        self._exhausted = not (going and (self._streams > 1 or self._plan(self._stream)))
        return self._stream

    def _plan(self, stream: PairStream | PackedStream) -> bool:
        """Before the first step, cut steps into passes that fit into memory. False if not even single examples fit."""
        learner = self._learner
        assert learner is not None
        device, rows = learner.table.device, 1 << len(learner.table).bit_length()  # few lengths: each takes a second
        if device.type == "cpu" and self._step_tokens <= learner.chunk_tokens:
            return True  # a single pass of a CPU is small
        free = free_memory(device)
        while True:
            memory = TrainingMemory.of(learner.model.config, learner.config, rows, stream, learner.autocast)
            room = free + memory.held
            try:
                chunk = memory.fitting_chunk(room, int(learner.chunk_tokens))
            except InputError as error:
                canvas = PACKED if stream.packed else memory.canvas
                alone = replace(memory, slots=1, carried_tokens=memory.slot_tokens).peak(1) <= ROOM * room
                if not self._do_with_less(stream, canvas, stream.slot_count(canvas) if alone else 1, str(error)):
                    return False
            else:
                learner.chunk_tokens = chunk * memory.slot_tokens
                return True

    def _step(self, learner: Learner, stream: PairStream | PackedStream, progress: float) -> bool:
        """One step; out of memory, go on with less. False if no further step is possible."""
        canvas, slots = stream.next_step()
        try:
            free, mine = learner.free(canvas, slots)
            if free:
                learner.refill(canvas, stream.draw(canvas, free, mine))
            metrics = learner.step(canvas, progress)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            learner.abandon_step()
            self._exhausted = not self._do_with_less(stream, canvas, slots, "out of memory")
            return not self._exhausted
        self.steps += 1
        self.tokens += slots * stream.tokens(canvas)
        self._unread = metrics
        if self.steps % REPORT_EVERY == 0:
            self._read(metrics)
        return not self.failed

    def _do_with_less(self, stream: PairStream | PackedStream, canvas: Canvas, slots: int, why: str) -> bool:
        """Halve passes, or when they are of one example the step, or leave its canvas out. False if nothing is left."""
        learner, tokens = self._learner, stream.tokens(canvas)
        assert learner is not None
        going, what = True, "half as many at once"
        if not learner.halve_passes(slots * tokens, tokens):
            what = "half as many"
            if slots > 1:
                self._step_tokens = stream.halve(canvas)
            else:
                self._misfits.add(canvas)
            going = stream.leave_out(self._misfits)
            if slots == 1:
                what = "its pairs left out" if going else "nothing more to fit"
        where = "packed" if canvas == PACKED else f"on canvas {canvas}"
        log.warning("fit: %s with %d examples %s: going on with %s", why, slots, where, what)
        return going

    def _read(self, metrics: Metrics) -> None:
        self._unread = None
        self.loss = float(metrics.loss) / metrics.slots
        self.exact += 0.05 * (float(metrics.right) / metrics.slots - self.exact)
        self.failed = not math.isfinite(self.loss)
        self.curve.add(Reading(self.steps, self.seconds, self.loss, self.exact))
        if self.failed:
            log.warning("fit: the loss is %s after %d steps; using the start weights", self.loss, self.steps)

    def fitted(self) -> Fitted:
        """The current moving average; the start if there were no steps or the loss diverged."""
        if self._learner is None or self.failed or not self.steps:
            return self._fresh
        model, table = self._learner.averaged()
        return Fitted(model.eval(), table, self.variants, self.rows)

    def knowledge(self) -> Knowledge:
        """What a later fit can start from."""
        fitted = self.fitted()
        names, _ = name_rows([(t.id, t.digest) for t in self._tasks], self.variants, fitted.model.config.row_per_task)
        rows = {name: row for row, name in enumerate(names)}
        return Knowledge(fitted.model, fitted.table, rows, self._start.manifest)


def probe_pace(model: TRM) -> float:
    """Estimated seconds per token of a training step: three times a prediction of one sample on the full canvas."""
    canvas, device = model.config.canvas, model.y0.device
    tokens = model.config.puzzle_tokens + canvas[0] * canvas[1]
    took = []
    with torch.inference_mode():
        x = torch.zeros(1, tokens, model.config.width, device=device)
        for _ in range(2):  # the first one warms up
            began = time.monotonic()
            model(x, model.fresh_state(1, canvas), canvas).logits.sum().item()
            took.append(time.monotonic() - began)
    return 3 * max(min(took), 1e-6) / tokens


def choose_variants(tasks: Sequence[Task], start: Knowledge, config: FitConfig, seed: int) -> list[Variants]:
    """The variants of each task: first those with a row of their own in the checkpoint, then new ones.

    The identity is always the first.
    """
    chosen = []
    for task in tasks:
        permuted = permuted_colours(task.train, config.colours)
        shown = shown_colours(task.train)
        drawn = make_variants(task.id, config.augmentations, seed, config.symmetries, permuted, shown)
        if not start.model.config.row_per_task:
            known, _ = start.known_variants(task)
            drawn = drawn.first(1).followed_by(known).followed_by(drawn, shown).first(config.augmentations)
        chosen.append(drawn)
    return chosen


def starting_table(
    tasks: Sequence[Task], variants: Sequence[Variants], start: Knowledge
) -> tuple[Tensor, list[np.ndarray], int]:
    """The puzzle embedding table (rows, W) of the tasks, the rows of each task's variants, and how many are reused.

    A row that the checkpoint has for the same variant name and the same demonstrations is copied. All others start at
    the mean of the trained table, or at zero if it is empty.
    """
    names, rows = name_rows([(t.id, t.digest) for t in tasks], variants, start.model.config.row_per_task)
    width = start.model.config.row_width
    mean = start.table.mean(dim=0) if len(start.table) else start.table.new_zeros(width)
    table = mean.repeat(len(names), 1)
    known = [(new, start.rows[name]) for new, name in enumerate(names) if name in start.rows]
    if known:
        new, old = upload(table.device, *np.array(known).T)
        table[new] = start.table[old]
    return table, rows, len(known)
