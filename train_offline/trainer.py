"""The training loop: learner steps on a stream, seen, scored, saved, and resumed to the bit.

The same on one process or many (`solver/ranks.py`): rank 0 talks and decides, all ranks step together.
"""

import math
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from kernels.yardstick import gemm_gflops
from solver.answers.outcome import LEAK_WARNING
from solver.common.checks import InputError, one_line, within
from solver.common.clock import Clock, stop_signals
from solver.learning.learner import Learner
from solver.learning.ranks import Ranks
from solver.model.device import is_out_of_memory
from solver.model.trm import TRM
from solver.model.weights import Knowledge
from solver.tokens.encode import Batch, Draw
from train_offline.checkpoints import Progress, begin, checkpoints, load_training, save_training
from train_offline.flops import train_flops
from train_offline.metrics import FILE as METRICS
from train_offline.metrics import MetricsLog, Window, read_metrics
from train_offline.problems.problem import Problem
from train_offline.settings.config import TrainConfig

EXPLODED = 3.0  # times the loss of the first window: no longer learning
CompileMode = Literal["off", "eager", "inductor"]
Ending = Literal["done", "time", "interrupted"]


@dataclass(frozen=True)
class RunOptions:
    """Where and how long a run goes, whatever it trains."""

    out: Path
    seed: int = 0
    resume: bool = False
    time_limit: float = math.inf  # seconds
    checkpoint_steps: int = 1000
    checkpoint_seconds: float = 600.0
    keep: int = 3  # checkpoints
    report_every: int = 10  # steps between readings of the loss: each waits for the device
    compile: CompileMode = "off"
    tensorboard: bool = False
    show_progress: bool = True

    def __post_init__(self) -> None:
        """Raise InputError for counts that make no run."""
        within("seed", self.seed, 0)
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
    ) -> None:
        """Start from scratch, or with `resume` from the last checkpoint. Raises InputError if that is another run's."""
        self._config, self._problem, self._options = config, problem, options
        self._ranks, self._autocast = ranks, autocast
        smallest = min(problem.stream.slot_count(canvas) for canvas in problem.stream.canvases)
        if smallest < ranks.count:
            got = f"{smallest} for {ranks.count} ranks"
            raise InputError(f"step_tokens {config.step_tokens}: expected a slot a rank on every canvas, got {got}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            model = TRM(config.model)
        table = nn.Parameter(torch.zeros(problem.row_count, config.model.row_width, device=device))
        exploration = torch.Generator().manual_seed(options.seed)
        self.learner = Learner(model.to(device).train(), table, config.learner, exploration, autocast, ranks)
        self.progress = Progress(options.seed, problem.manifest["digest"])
        self._resume()
        if options.compile != "off":
            self.learner.model.compile_layers(options.compile)
        # a CPU may take minutes for the yardstick in 16 bits
        self.gflops = gemm_gflops(device, autocast if autocast and device.type == "cuda" else torch.float32)
        self._stop: int | None = None  # the signal that asked for the end
        self._log = MetricsLog(options.out, self.progress.step, options.tensorboard, ranks.rank)
        self._bar = tqdm(disable=True)  # until it runs

    def _resume(self) -> None:
        options = self._options
        found, earlier = checkpoints(options.out), read_metrics(options.out)
        if (found or earlier) and not options.resume:
            got = found[-1].name if found else METRICS
            hint = "add --resume, or choose another --out"
            raise InputError(f"{options.out}: expected no earlier run, got {got}: {hint}")
        if self._ranks.rank == 0:
            begin(options.out)
        if found:
            stream = self._problem.stream
            self.progress = load_training(found[-1], self.learner, stream, self.progress, self._config)

    def run(self) -> Ending:
        """Train to the end, the time limit or an interrupt, and save; the metrics go to `metrics.jsonl`.

        Raises InputError, after leaving the last good checkpoint, if the loss is no longer a sensible number.
        """
        options, config, progress = self._options, self._config, self.progress
        clock, window, saved_at = Clock(options.time_limit), Window(), time.monotonic()
        hidden = not options.show_progress or self._ranks.rank > 0
        step, steps = progress.step, config.steps
        self._bar = tqdm(initial=step, total=steps, desc="train", unit="step", disable=hidden, mininterval=1)
        ending: Ending | None = "done" if progress.step >= config.steps else None
        with closing(self._log), self._bar, stop_signals(self._note_stop):
            while ending is None:
                try:
                    self._step(window)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    raise self._out_of_memory(error) from error
                last = progress.step >= config.steps
                if progress.step % options.report_every == 0 or last:
                    self._report(window)
                    window = Window()
                due = time.monotonic() - saved_at > options.checkpoint_seconds
                ending, due = self._agree(clock.expired(), due or progress.step % options.checkpoint_steps == 0)
                ending = "done" if last else ending
                with window.paused():
                    if ending or due:
                        self._save(window)
                        saved_at = time.monotonic()
                    every = config.evaluation.every
                    if ending in ("done", "time") or (every and progress.step % every == 0):
                        self.evaluate()
        return ending

    def evaluate(self) -> dict[str, float]:
        """Score the moving average, this checkpoint's alone, on what is held out."""
        model, table = self.learner.averaged()
        figures = self._problem.evaluate(model.eval(), table, self._ranks, self._autocast)
        leaks = self._problem.manifest["leaks_allowed"]
        self._log.write(self.progress.step, {**figures, **({"leaks_allowed": True} if leaks else {})}, "evaluation")
        if self._ranks.rank == 0:
            words = ", ".join(f"{v} {name}" if isinstance(v, int) else f"{name} {v:.1%}" for name, v in figures.items())
            warning = f" ({LEAK_WARNING})" if leaks else ""
            self._bar.write(f"step {self.progress.step}: held out{warning}: {words or 'nothing'}")
        return figures

    def _step(self, window: Window) -> None:
        stream, learner, progress = self._problem.stream, self.learner, self.progress
        while True:  # until the weights have moved: gradients of half an accumulation cannot be saved
            canvas = stream.next_canvas()
            slots = stream.slot_count(canvas)
            draw = self._timed(stream.on(canvas), window)
            metrics = learner.train_step(canvas, slots, draw, progress.step / self._config.steps)
            window.add(metrics, slots * train_flops(self._config.model, canvas))
            if not learner.between_moves:
                break
        progress.step += 1
        self._bar.update()

    def _out_of_memory(self, error: BaseException) -> InputError:
        tokens, saved = self._config.step_tokens, checkpoints(self._options.out)
        advice = f"go on from {saved[-1]} with --resume" if saved else "start again in another --out"
        got = f"step {self.progress.step}: expected room for {tokens} tokens a step, got: {one_line(str(error))[:200]}"
        return InputError(f"{got}: {advice} and --step-tokens {tokens // 2}, or more ranks")

    def _timed(self, draw: Draw, window: Window) -> Draw:
        def timed(free: Tensor, mine: slice) -> Batch:
            began = time.perf_counter()
            batch = draw(free, mine)
            window.drawing += time.perf_counter() - began
            return batch

        return timed

    def _report(self, window: Window) -> None:
        means = window.means(self._ranks, self.gflops)
        progress = self.progress
        progress.seconds += means.pop("window_seconds")
        self._check(means["loss"])
        progress.first_loss = progress.first_loss or means["loss"]
        factor = self.learner.lr_factor(progress.step / self._config.steps)
        self._log.write(progress.step, {**means, "lr": self.learner.config.lr * factor, "seconds": progress.seconds})
        self._bar.set_postfix_str(_postfix(means), refresh=False)

    def _check(self, loss: float) -> None:
        """Raise InputError, which says what to do, unless the loss is a number and no explosion."""
        first = self.progress.first_loss
        if math.isfinite(loss) and (first is None or loss < EXPLODED * first):
            return
        saved = checkpoints(self._options.out)
        lr, step = self.learner.config.lr, self.progress.step
        advice = f"go on from {saved[-1]} with --resume" if saved else "start again in another --out"
        advice += f" and --learner.lr {lr / 3:g} (now {lr:g})"
        raise InputError(f"step {step}: expected a sensible loss, got {loss:.4g}: {advice}")

    def _agree(self, expired: bool, due: bool) -> tuple[Ending | None, bool]:
        """What all ranks do now: whether to end, and whether to save. The first rank's clock counts."""
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
        state = (self.learner, self.progress, self._config, position, knowledge)
        save_training(self._options.out, *state, self._options.keep)

    def _note_stop(self, number: int) -> None:
        self._stop = number
        self._bar.write("ending after this step; once more to end at once, without a checkpoint")


def _postfix(means: dict[str, float]) -> str:
    """What the bar shows of a window."""
    work = f"{means['examples_per_second']:.0f} examples/s, {means['peak_share']:.0%} of peak"
    return (
        f"loss {means['loss']:.3f}, exact {means['exact']:.1%}, {means['supervision_steps']:.1f} supervision steps, "
        f"{work}, input {means['input_share']:.1%}"
    )
