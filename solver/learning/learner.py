"""The learner: one supervision step of training, the same offline and at test time, on one process or on many.

A batch has B slots; each keeps its example until it halts and then takes a new one. Every canvas keeps its own slots.
Letters: B slots of this rank, S canvas tokens, W width of a puzzle embedding row.
"""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kernels.canvas import Canvas
from solver.learning.loss import Losses, continue_target, step_losses
from solver.learning.optimizers import TrunkOptimizer, sign_sgd_
from solver.learning.ranks import Ranks
from solver.model.layers import Layer
from solver.model.linear import Linear
from solver.model.trm import TRM, Condition, Output, State
from solver.settings.config import LearnerConfig
from solver.tokens.encode import Batch, Draw

FIRST_SCALE = 2.0**16  # of a float16 loss: its gradients would underflow unscaled


@dataclass
class Slots:
    """The examples in work on one canvas and how far they are."""

    batch: Batch
    state: State
    steps: Tensor  # (B,) supervision steps done
    halted: Tensor  # (B,) bool

    @classmethod
    def empty(cls, count: int, device: torch.device) -> "Slots":
        """Slots that all wait for an example."""
        nothing = torch.empty(0, device=device)
        steps = torch.zeros(count, dtype=torch.int64, device=device)
        halted = torch.ones_like(steps, dtype=torch.bool)
        return cls(Batch(*[nothing] * 5), State(nothing, nothing), steps, halted)

    def refill(self, free: Tensor, new: Batch, fresh: State) -> None:
        """Give the slots `free` (K,) new examples (K) and fresh states, in order; the others keep theirs."""
        if len(free) == len(self.halted):
            self.batch, self.state = new, fresh
            self.steps = torch.zeros_like(self.steps)
        elif len(free):
            for mine, added in zip((*self.batch, *self.state), (*new, *fresh), strict=True):
                mine[free] = added.to(mine.dtype)
            self.steps[free] = 0


class Metrics(NamedTuple):
    """Sums over this rank's slots in one step, left on the device: reading one waits for it."""

    loss: Tensor
    token_loss: Tensor
    halting_loss: Tensor
    continue_loss: Tensor  # 0 without Q-learning
    right: Tensor  # slots whose whole sequence is right
    steps: Tensor  # supervision steps done
    slots: int  # of all ranks


class Trained(nn.Module):
    """What the optimizer moves: the trunk, and the puzzle embedding table where Adam moves that too."""

    def __init__(self, trunk: TRM, rows: nn.Parameter | None) -> None:
        super().__init__()
        self.trunk, self.rows = trunk, rows

    def forward(self, batch: Batch, rows: Tensor | None, state: State, canvas: Canvas) -> tuple[Tensor, Output]:
        """The question x and one supervision step; `rows` (B, W) are looked up unless they are given."""
        rows = self.rows[batch.ids] if rows is None else rows  # type: ignore[index]
        x = self.trunk.embed(batch.inputs, Condition(rows, batch.symmetry, batch.permutation), canvas)
        return x, self.trunk(x, state, canvas)


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
    ranks: Ranks = field(default_factory=Ranks)
    step_count: int = 0  # steps of the optimizers
    slots: dict[Canvas, Slots] = field(default_factory=dict)
    gradient_norm: Tensor | None = None  # of the trunk at the last step, before clipping; None without clipping

    def __post_init__(self) -> None:
        config, adam = self.config, self.config.row_optimizer == "adam_atan2"
        trained = Trained(self.model, self.table if adam else None)
        layers = [module for module in self.model.modules() if isinstance(module, Layer)]
        matrices = [part.weight for layer in layers for part in layer.modules() if isinstance(part, Linear)]
        others = [p for p in self.model.parameters() if all(p is not matrix for matrix in matrices)]
        groups: list[dict[str, Any]] = [{"params": matrices, "method": config.trunk_optimizer}, {"params": others}]
        if adam:
            groups.append({"params": [self.table], "lr": config.row_lr, "weight_decay": config.row_weight_decay})
        self.optimizer = TrunkOptimizer(groups, config.lr, config.betas, config.weight_decay)
        self._full_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.average = AveragedModel(trained, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        # AveragedModel would copy the weights *after* the first step; the published average starts before it
        self.average.n_averaged.fill_(1)
        self._trained, self._parallel = trained, self.ranks.parallel(trained)
        self.scaler = torch.amp.GradScaler(
            self.table.device.type, init_scale=FIRST_SCALE, enabled=self.autocast == torch.float16
        )
        self._row_gradients: list[tuple[Tensor, Tensor]] = []
        self._micro_steps = 0

    def averaged(self) -> tuple[TRM, Tensor]:
        """The moving average that is evaluated: the trunk's, and the table (averaged only if Adam moves it)."""
        average: Any = self.average.module
        return average.trunk, (self.table if average.rows is None else average.rows).detach()

    def freeze_trunk(self, frozen: bool) -> None:
        """Train the puzzle embeddings alone (True) or everything (False)."""
        self.model.requires_grad_(not frozen)

    @property
    def between_moves(self) -> bool:
        """Whether gradients are waiting for more of their kind: a training state cannot be saved now."""
        return self._micro_steps % self.config.accumulation != 0

    def train_step(self, canvas: Canvas, slot_count: int, draw: Draw, progress: float = 0.0) -> Metrics:
        """One supervision step of every slot of a canvas.

        `slot_count` is the global batch, of all ranks; `progress` in [0, 1] places the step on the cosine schedule.
        """
        slots = self._filled_slots(canvas, slot_count, draw)
        self._micro_steps += 1
        rows = None
        if self.config.row_optimizer == "sign_sgd":
            rows = self.table[slots.batch.ids].detach().requires_grad_()
        with self.ranks.exchanging(self._parallel, not self.between_moves):
            with self._precision():
                x, output = self._parallel(slots.batch, rows, slots.state, canvas)
                losses = self._losses(slots, x.detach(), output, canvas)
            loss = losses.total().sum()
            # DDP averages over the ranks what is summed here: hence the number of ranks
            self.scaler.scale(loss / (slot_count * self.config.accumulation / self.ranks.count)).backward()
        if rows is not None:
            assert rows.grad is not None
            gathered = (self.ranks.gather(part, slot_count) for part in (slots.batch.ids, rows.grad))
            self._row_gradients.append(tuple(part.clone() for part in gathered))  # type: ignore[arg-type]
        if not self.between_moves:
            self._move(progress)
        slots.state, slots.steps = output.state, slots.steps + 1
        slots.halted = self._halts(slots.steps, output.halting.detach(), slot_count)
        tokens, halting, continuing, right = (part.detach().sum() for part in losses[:4])
        return Metrics(loss.detach(), tokens, halting, continuing, right, slots.steps.sum(), slot_count)

    def abandon_step(self, canvas: Canvas) -> None:
        """Forget a step that ran out of memory half way: its gradients, and the examples in work on its canvas."""
        self.optimizer.zero_grad()
        self._row_gradients.clear()
        self._micro_steps -= self._micro_steps % self.config.accumulation
        self.slots.pop(canvas, None)

    def lr_factor(self, progress: float) -> float:
        """Warm-up (step / warmup_steps, from step 1), then constant or a cosine down to lr_min_ratio."""
        factor = min(1.0, (self.step_count + 1) / max(1, self.config.warmup_steps))
        if self.config.schedule == "cosine":
            low = self.config.lr_min_ratio
            factor *= low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return factor

    def _filled_slots(self, canvas: Canvas, slot_count: int, draw: Draw) -> Slots:
        """This rank's slots, the halted ones with new examples; the free slots of all ranks draw in one order."""
        mine = self.ranks.share(slot_count)
        slots = self.slots.get(canvas)
        if slots is None or len(slots.halted) != mine.stop - mine.start:
            slots = self.slots[canvas] = Slots.empty(mine.stop - mine.start, self.table.device)
        free = self.ranks.gather(slots.halted.byte(), slot_count).nonzero()[:, 0].cpu()
        if len(free):
            here = slice(*(int((free < bound).sum()) for bound in (mine.start, mine.stop)))
            new = draw(free, here)
            fresh = State(*(part.clone() for part in self.model.fresh_state(len(new.ids), canvas)))
            slots.refill((free[here] - mine.start).to(self.table.device), new, fresh)
        return slots

    def _losses(self, slots: Slots, x: Tensor, output: Output, canvas: Canvas) -> Losses:
        target = None
        if self.model.config.halting == "q_learning":
            with torch.no_grad():
                ahead = self.model(x, output.state, canvas).halting
            target = continue_target(ahead, slots.steps + 1 >= self.config.supervision_steps)
        return step_losses(output.logits, output.halting, slots.batch.labels, self.config.loss, target)

    def _move(self, progress: float) -> None:
        factor = self.lr_factor(progress)
        if self.config.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            self.gradient_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        for group, full_lr in zip(self.optimizer.param_groups, self._full_lrs, strict=True):
            group["lr"] = full_lr * factor
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        overflowed = self.scaler.get_scale() < scale  # then the scaler has left the weights where they were
        if self._row_gradients and not overflowed:
            ids, gradients = (torch.cat(parts) for parts in zip(*self._row_gradients, strict=True))
            sign_sgd_(self.table, ids, gradients, self.config.row_lr * factor, self.config.row_weight_decay)
        self._row_gradients.clear()
        self.optimizer.zero_grad()
        if not overflowed:
            self.average.update_parameters(self._trained)
        self.step_count += 1

    def _halts(self, steps: Tensor, halting: Tensor, slot_count: int) -> Tensor:
        """Which slots halt: at the last step, or when the head says so after a minimum that exploration draws."""
        last, mine = self.config.supervision_steps, self.ranks.share(slot_count)
        explores = torch.rand(slot_count, generator=self.generator) < self.config.exploration
        minimum = torch.randint(2, max(last, 2) + 1, (slot_count,), generator=self.generator).where(explores, 0)
        to_halt, to_continue = halting.unbind(dim=1)
        wants = to_halt > (to_continue if self.model.config.halting == "q_learning" else 0)
        return (steps >= last) | (wants & (steps >= minimum[mine].to(steps.device)))

    def _precision(self) -> torch.autocast:
        device = self.table.device.type
        return torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None)
