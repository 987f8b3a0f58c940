"""The training loop: learner steps on a stream, with metrics, evaluations, checkpoints and resume.

It is the same on one process or many (`solver/learning/ranks.py`): rank 0 decides and reports, all ranks step together.
"""

import logging
import math
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import nn
from tqdm import tqdm
from tyro.conf import Suppress

from kernels.canvas import Canvas
from kernels.yardstick import gemm_gflops
from solver.answers.outcome import LEAK_WARNING
from solver.common.checks import InputError, one_line, within
from solver.common.clock import Clock, OutOfTime, overdue, stop_signals
from solver.learning.learner import Learner
from solver.learning.memory import TrainingMemory
from solver.learning.ranks import Ranks
from solver.model.compiled import compile_networks, default_backend, warm_up
from solver.model.device import free_memory, is_out_of_memory, pass_tokens
from solver.model.packing import PACKED
from solver.model.trm import TRM
from solver.model.weights import Knowledge, fresh_knowledge
from solver.settings.options import MOST_SEED, Duration
from solver.tokens.packed_stream import PackedStream
from train_offline.checkpoints import TrainingProgress, begin, checkpoints, resume_training, save_training
from train_offline.cost import memory_line
from train_offline.flops import train_flops
from train_offline.metrics import FILE as METRICS
from train_offline.metrics import MetricsLog, Window, read_metrics
from train_offline.problems.problem import Problem
from train_offline.settings.config import TrainConfig

EXPLODED = 3.0  # a loss above this multiple of the first window's means that training has diverged
CompileMode = Literal["auto", "off", "eager", "inductor"]
Ending = Literal["done", "time", "interrupted"]
log = logging.getLogger("arc_trm")


@dataclass(frozen=True)
class RunOptions:
    """Settings of a run that do not change what it learns: its folder, duration, checkpoints and output."""

    out: Path  # Folder of the run. With several machines, a shared one.
    resume: bool = False
    """Continue from the last checkpoint in --out, if there is one. Repeat the other options unchanged."""
    seed: int = 0  # Seed of initial weights, variants and order of examples.
    time_limit: Duration = math.inf  # Stop after this time, counted from the first step; a final evaluation may follow.
    checkpoint_steps: int = 1000  # Steps between checkpoints.
    checkpoint_every: Duration = 600.0  # Longest time between checkpoints.
    keep: int = 3  # Number of checkpoints to keep.
    keep_states: bool = True
    """Keep the states of unfinished examples in checkpoints (GB at width 512). Without them a resumed run computes them
    again with its present weights, and is no longer to the bit what it would have been."""
    report_every: int = 10  # Steps between lines of metrics.jsonl; each waits for the device.
    compile: CompileMode = "auto"
    """Compile the networks with torch.compile; auto: with inductor on CUDA if the time limit leaves 20 minutes."""
    tensorboard: bool = False  # Also write curves for TensorBoard; needs the package tensorboardX.
    show_progress: Annotated[bool, Suppress] = True

    def __post_init__(self) -> None:
        within("seed", self.seed, 0)
        within("seed", self.seed, 0, MOST_SEED)
        for name in ("checkpoint_steps", "keep", "report_every"):
            within(name, getattr(self, name), 1)


class Trainer:
    """One run of a configuration on a problem."""

    def __init__(
        self,
        config: TrainConfig,
        problem: Problem,
        options: RunOptions,
        device: torch.device,
        ranks: Ranks,
        autocast: torch.dtype | None = None,
        kind: type[TRM] = TRM,
    ) -> None:
        """Start from scratch, or with `resume` from the last checkpoint. Raises InputError if that is another run's."""
        self._config, self._problem, self._options = config, problem, options
        self._ranks, self._autocast = ranks, autocast
        smallest = min(problem.stream.slot_count(canvas) for canvas in problem.stream.canvases)
        if smallest < ranks.count:
            got = f"{smallest} for {ranks.count} ranks"
            raise InputError(f"step_tokens {config.step_tokens}: expected a slot per rank on every canvas, got {got}")
        self.memory = TrainingMemory.of(
            config.model, config.learner, problem.row_count, problem.stream, autocast, ranks.count
        )
        free = free_memory(device) / (ranks.count if device.type == "cpu" else 1)
        chunk = self.memory.fitting_chunk(free, pass_tokens(device, config.model.width))
        self.memory_line = memory_line("here", self.memory, free, chunk)
        chunk_tokens = chunk * self.memory.slot_tokens
        model = fresh_knowledge(config.model, options.seed, device, kind).model.train()
        table = nn.Parameter(torch.zeros(problem.row_count, config.model.row_width, device=device))
        exploration = torch.Generator().manual_seed(options.seed)
        self.learner = Learner(model, table, config.learner, exploration, autocast, ranks, chunk_tokens)
        self.progress = TrainingProgress(options.seed, problem.manifest["digest"])
        found, earlier = checkpoints(options.out), read_metrics(options.out)
        if (found or earlier) and not options.resume:
            got = found[-1].name if found else METRICS
            hint = "add --resume, or choose another --out"
            raise InputError(f"{options.out}: expected no earlier run, got {got}: {hint}")
        if ranks.rank == 0:
            begin(options.out)
        if found:
            self.progress = resume_training(options.out, self.learner, problem.stream, self.progress, config)
        if options.compile == "auto":
            backend = default_backend(device, options.time_limit)
        else:
            backend = None if options.compile == "off" else options.compile
        for trunk in (self.learner.model, self.learner.averaged()[0]):
            compile_networks(trunk, backend)
        if not isinstance(problem.stream, PackedStream):  # packed steps are not compiled
            warm_up(model, autocast, graded=True)
        # measuring the peak in 16 bits may take minutes on a CPU
        self.gflops = gemm_gflops(device, autocast if autocast and device.type == "cuda" else torch.float32)
        self._stop: int | None = None  # signal that asked the run to end
        self._log = MetricsLog(options.out, self.progress.step, options.tensorboard, ranks.rank)
        self._bar = tqdm(disable=True)  # replaced in run()

    def run(self) -> Ending:
        """Train to the last step, the time limit or an interrupt, then save. Metrics go to `metrics.jsonl`.

        Raises InputError if memory runs out or the loss diverges; the last good checkpoint is kept.
        """
        options, config, progress = self._options, self._config, self.progress
        clock, window, saved_at = Clock(options.time_limit), Window(), time.monotonic()
        hidden = not options.show_progress or self._ranks.rank > 0
        step, steps = progress.step, config.steps
        self._bar = tqdm(initial=step, total=steps, desc="train", unit="step", disable=hidden, mininterval=1)
        ending: Ending | None = "done" if progress.step >= config.steps else None
        with closing(self._log), self._bar, stop_signals(partial(self._note_stop, clock)):
            while ending is None:
                try:
                    stepped = self._step(window, clock)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    if self._smaller_passes():
                        continue
                    tokens = config.step_tokens
                    got = f"expected room for {tokens} tokens per step, got: {one_line(str(error))[:200]}"
                    advice = f"{self._way_on()} and --step-tokens {tokens // 2}, or more ranks"
                    raise InputError(f"step {progress.step}: {got}: {advice}") from error
                last = progress.step >= config.steps
                if window.steps and (progress.step % options.report_every == 0 or last):
                    self._report(window)
                    window = Window()
                due = time.monotonic() - saved_at > options.checkpoint_every
                ending, due = self._agree(clock.expired(), due or progress.step % options.checkpoint_steps == 0)
                ending = "done" if last else ending
                with window.paused():
                    if ending or due:
                        self._save(window)
                        saved_at = time.monotonic()
                    every = config.evaluation.every
                    evaluates = ending in ("done", "time") or (every and progress.step % every == 0)
                    if evaluates and stepped:  # after a step that was dropped, an evaluation would take as long
                        self.evaluate()
        return ending

    def evaluate(self) -> dict[str, float]:
        """Score the moving average on what is held out; votes of several checkpoints are never pooled."""
        model, table = self.learner.averaged()
        figures = self._problem.evaluate(model.eval(), table, self._ranks, self._autocast)
        leaks = self._problem.manifest["leaks_allowed"]
        self._log.write(self.progress.step, {**figures, **({"leaks_allowed": True} if leaks else {})}, "evaluation")
        if self._ranks.rank == 0:
            words = ", ".join(f"{v} {name}" if isinstance(v, int) else f"{name} {v:.1%}" for name, v in figures.items())
            warning = f" ({LEAK_WARNING})" if leaks else ""
            self._bar.write(f"step {self.progress.step}: held out{warning}: {words or 'nothing'}")
        return figures

    def _step(self, window: Window, clock: Clock) -> bool:
        """One step. False: dropped some seconds after the clock expired. Ranks wait for one another and drop none."""
        stream, learner, progress = self._problem.stream, self.learner, self.progress
        position = stream.position()
        canvas, slots = stream.next_step()
        free, mine = learner.free(canvas, slots)
        if free:
            began = time.perf_counter()
            batch = stream.draw(canvas, free, mine)
            window.drawing += time.perf_counter() - began
            learner.refill(canvas, batch)
        droppable = overdue(clock) if self._ranks.count == 1 else None
        try:
            metrics = learner.step(canvas, progress.step / self._config.steps, droppable)
        except OutOfTime:  # the slots still count as halted, so that a resumed run does the same step
            stream.seek(position)
            return False
        window.add(metrics, slots * self._sample_flops(canvas))
        progress.step += 1
        self._bar.update()
        return True

    def _smaller_passes(self) -> bool:
        """After out of memory: go on with smaller passes, if there are any. Other ranks would wait for this one."""
        learner, memory = self.learner, self.memory
        if self._ranks.count > 1 or not learner.halve_passes(memory.slots * memory.slot_tokens, memory.slot_tokens):
            return False
        learner.abandon_step()
        log.warning("step %d: out of memory: going on with half as many samples at once", self.progress.step)
        return True

    def _sample_flops(self, canvas: Canvas) -> float:
        """FLOPs of one supervision step of a sample: those of its canvas, or the mean of packed samples."""
        shares = self._problem.stream.shares() if canvas == PACKED else {canvas: 1.0}
        return sum(share * train_flops(self._config.model, place) for place, share in shares.items())

    def _report(self, window: Window) -> None:
        means = window.means(self._ranks, self.gflops)
        progress = self.progress
        progress.seconds += means.pop("window_seconds")
        progress.cpu_seconds += means.pop("window_cpu_seconds")
        self._check(means["loss"])
        progress.first_loss = progress.first_loss or means["loss"]
        factor = self.learner.lr_factor(progress.step / self._config.steps)
        self._log.write(progress.step, {**means, "lr": self.learner.config.lr * factor, "seconds": progress.seconds})
        self._bar.set_postfix_str(
            f"loss {means['loss']:.3f}, exact {means['exact']:.1%}, {means['supervision_steps']:.1f} supervision "
            f"steps, {means['examples_per_second']:.0f} examples/s, {means['peak_share']:.0%} of peak, "
            f"input {means['input_share']:.1%}",
            refresh=False,
        )

    def _check(self, loss: float) -> None:
        """Raise InputError, with advice, if the loss is not finite or has diverged."""
        first = self.progress.first_loss
        if math.isfinite(loss) and (first is None or loss < EXPLODED * first):
            return
        lr = self.learner.config.lr
        advice = f"{self._way_on()} and --learner.lr {lr / 3:g} (now {lr:g})"
        raise InputError(f"step {self.progress.step}: expected a sensible loss, got {loss:.4g}: {advice}")

    def _way_on(self) -> str:
        saved = checkpoints(self._options.out)
        return f"continue from {saved[-1]} with --resume" if saved else "start again in another --out"

    def _agree(self, expired: bool, due: bool) -> tuple[Ending | None, bool]:
        """Whether to end and to save, the same on all ranks. A signal to any rank counts, but only rank 0's clock."""
        first = self._ranks.rank == 0
        stop, expired_sum, due_sum = self._ranks.total([self._stop is not None, first and expired, first and due])
        return ("interrupted" if stop else "time" if expired_sum else None), bool(due_sum)

    def _save(self, window: Window) -> None:
        if window.steps:
            self._check(window.means(self._ranks, self.gflops)["loss"])
        if not all(bool(parameter.isfinite().all()) for parameter in self.learner.model.parameters()):
            self._check(math.nan)
        model, table = self.learner.averaged()
        knowledge = Knowledge(model, table, self._problem.rows, self._problem.manifest)
        position = self._problem.stream.position()
        out, keep, keep_states = self._options.out, self._options.keep, self._options.keep_states
        save_training(out, self.learner, self.progress, self._config, position, knowledge, keep, keep_states)

    def _note_stop(self, clock: Clock, number: int) -> None:
        self._stop = number
        clock.stop()
        self._bar.write("ending after this step, or soon without it; repeat to end at once, without a checkpoint")
