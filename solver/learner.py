"""The learner: one supervision step of training, the same offline and at test time.

A batch has B slots; each keeps its example until it halts and then takes a new one (adaptive halting, arXiv 2510.04871
section 2). Every canvas keeps its own slots. Letters: B slots, S canvas tokens, W width of a puzzle embedding row.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from solver.models.positions import Canvas
from solver.models.trm import TRM, Condition, State
from solver.objective import LossKind, step_losses
from solver.optim import AdamAtan2, sign_sgd_


@dataclass(frozen=True)
class LearnerConfig:
    """How weights move. The defaults are the published ARC run."""

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    row_optimizer: Literal["sign_sgd", "adam_atan2"] = "sign_sgd"  # of the puzzle embedding table
    row_lr: float = 1e-2
    row_weight_decay: float = 0.1
    warmup_steps: int = 2000
    schedule: Literal["constant", "cosine"] = "constant"  # after the warm-up, over the run's progress
    lr_min_ratio: float = 0.0  # where the cosine ends, as a share of lr
    ema_decay: float = 0.999
    loss: LossKind = "stablemax"
    supervision_steps: int = 16
    exploration: float = 0.1  # how often a slot is kept for a random number of steps
    clip_norm: float | None = None  # of the trunk's gradient
    accumulation: int = 1  # steps whose gradients are summed before the weights move


class Batch(NamedTuple):
    """Examples for some slots, on one canvas."""

    inputs: Tensor  # (B, S) int64 tokens
    labels: Tensor  # (B, S) int64 tokens, IGNORE where nothing is scored
    ids: Tensor  # (B,) rows of the puzzle embedding table
    symmetry: Tensor  # (B,) int64
    permutation: Tensor  # (B, 10) int64

    def at(self, slots: Tensor) -> "Batch":
        """The examples of some slots."""
        return Batch(*(part[slots] for part in self))


Draw = Callable[[Tensor], Batch]  # slots (K,) that need an example -> a batch of K


@dataclass
class Slots:
    """The examples in work on one canvas and how far they are."""

    batch: Batch
    state: State
    steps: Tensor  # (B,) supervision steps done
    halted: Tensor  # (B,) bool

    def refill(self, draw: Draw, fresh: Callable[[int], State]) -> None:
        """Give every halted slot a new example and a fresh state; the others keep theirs."""
        empty = self.halted.nonzero()[:, 0]
        if len(empty) == 0:
            return
        if len(empty) == len(self.halted):
            self.batch, self.state = draw(empty), fresh(len(empty))
            self.steps = torch.zeros_like(self.steps)
            return
        for mine, new in zip((*self.batch, *self.state), (*draw(empty), *fresh(len(empty))), strict=True):
            mine[empty] = new.to(mine.dtype)
        self.steps[empty] = 0


class Metrics(NamedTuple):
    """Sums over the slots of one step, left on the device: reading one waits for it."""

    loss: Tensor
    token_loss: Tensor
    halting_loss: Tensor
    right: Tensor  # slots whose whole sequence is right
    steps: Tensor  # supervision steps done
    slots: int


@dataclass
class Learner:
    """A model, its puzzle embedding table, and everything that moves them.

    `table` (rows, W) is moved row by row; with `row_optimizer="adam_atan2"` it is a parameter like the trunk's.
    """

    model: TRM
    table: nn.Parameter
    config: LearnerConfig
    generator: torch.Generator  # on the CPU; decides exploration
    autocast: torch.dtype | None = None  # precision of the forward pass where it is not float32
    step_count: int = 0  # steps of the optimizers
    slots: dict[Canvas, Slots] = field(default_factory=dict)
    gradient_norm: Tensor | None = None  # of the trunk at the last step, before clipping; None without clipping

    def __post_init__(self) -> None:
        config = self.config
        self._trained = nn.ModuleDict({"trunk": self.model})
        groups: list[dict[str, Any]] = [
            {"params": list(self.model.parameters()), "lr": config.lr, "weight_decay": config.weight_decay}
        ]
        if config.row_optimizer == "adam_atan2":
            self._trained["rows"] = nn.ParameterList([self.table])
            groups.append({"params": [self.table], "lr": config.row_lr, "weight_decay": config.row_weight_decay})
        self._optimizer = AdamAtan2(groups, config.lr, config.betas)
        self._full_lrs = [group["lr"] for group in groups]
        self._average = AveragedModel(self._trained, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        # AveragedModel would copy the weights *after* the first step; the published average starts before it
        self._average.n_averaged.fill_(1)
        self._row_gradients: list[tuple[Tensor, Tensor]] = []
        self._micro_steps = 0

    def averaged(self) -> tuple[TRM, Tensor]:
        """The moving average that is evaluated: the trunk's, and the table (averaged only if Adam moves it)."""
        average: Any = self._average.module
        rows = average["rows"][0] if self.config.row_optimizer == "adam_atan2" else self.table
        return average["trunk"], rows.detach()

    def freeze_trunk(self, frozen: bool) -> None:
        """Train the puzzle embeddings alone (True) or everything (False)."""
        self.model.requires_grad_(not frozen)

    def train_step(self, canvas: Canvas, slot_count: int, draw: Draw, progress: float = 0.0) -> Metrics:
        """One supervision step of every slot of a canvas; `progress` in [0, 1] places it on the cosine schedule."""
        slots = self.slots.get(canvas)
        if slots is None or len(slots.halted) != slot_count:
            slots = self.slots[canvas] = self._empty_slots(slot_count)
        slots.refill(draw, lambda count: State(*(part.clone() for part in self.model.fresh_state(count, canvas))))
        batch = slots.batch
        rows = self.table[batch.ids]
        if self.config.row_optimizer == "sign_sgd":
            rows = rows.detach().requires_grad_()
        with self._precision():
            x = self.model.embed(batch.inputs, Condition(rows, batch.symmetry, batch.permutation), canvas)
            output = self.model(x, slots.state, canvas)
        losses = step_losses(output.logits, output.halting, batch.labels, self.config.loss)
        loss = losses.total().sum()
        (loss / (slot_count * self.config.accumulation)).backward()
        if self.config.row_optimizer == "sign_sgd":
            assert rows.grad is not None
            self._row_gradients.append((batch.ids.clone(), rows.grad))
        self._micro_steps += 1
        if self._micro_steps % self.config.accumulation == 0:
            self._move(progress)
        slots.state, slots.steps = output.state, slots.steps + 1
        slots.halted = self._halts(slots.steps, output.halting.detach())
        tokens, halting, right, _ = (value.detach() for value in losses)
        return Metrics(loss.detach(), tokens.sum(), halting.sum(), right.sum(), slots.steps.sum(), slot_count)

    def lr_factor(self, progress: float) -> float:
        """Warm-up (step / warmup_steps, from step 1), then constant or a cosine down to lr_min_ratio."""
        factor = min(1.0, (self.step_count + 1) / max(1, self.config.warmup_steps))
        if self.config.schedule == "cosine":
            low = self.config.lr_min_ratio
            factor *= low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return factor

    def _move(self, progress: float) -> None:
        factor = self.lr_factor(progress)
        if self.config.clip_norm is not None:
            self.gradient_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        for group, full_lr in zip(self._optimizer.param_groups, self._full_lrs, strict=True):
            group["lr"] = full_lr * factor
        self._optimizer.step()
        if self._row_gradients:
            ids, gradients = (torch.cat(parts) for parts in zip(*self._row_gradients, strict=True))
            sign_sgd_(self.table, ids, gradients, self.config.row_lr * factor, self.config.row_weight_decay)
            self._row_gradients.clear()
        self._optimizer.zero_grad()
        self._average.update_parameters(self._trained)
        self.step_count += 1

    def _empty_slots(self, count: int) -> Slots:
        device = self.table.device
        nothing = torch.empty(0, device=device)
        batch, state = Batch(*[nothing] * 5), State(nothing, nothing)
        steps = torch.zeros(count, dtype=torch.int64, device=device)
        return Slots(batch, state, steps, torch.ones_like(steps, dtype=torch.bool))

    def _halts(self, steps: Tensor, halting: Tensor) -> Tensor:
        """Which slots halt: at the last step, or when q_halt > 0 after a minimum that exploration draws."""
        last = self.config.supervision_steps
        explores = torch.rand(len(steps), generator=self.generator) < self.config.exploration
        minimum = torch.randint(2, max(last, 2) + 1, (len(steps),), generator=self.generator).where(explores, 0)
        return (steps >= last) | ((halting[:, 0] > 0) & (steps >= minimum.to(steps.device)))

    def _precision(self) -> torch.autocast:
        device = self.table.device.type
        return torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None)
