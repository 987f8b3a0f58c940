"""The learner: one supervision step of training. The same code trains offline and fits at test time, on any number of
processes.

A batch has B slots. A slot keeps its example until it halts, then takes a new one. Every canvas has its own slots.
One training step:

    canvas, slot_count = stream.next_step()
    free, mine = learner.free(canvas, slot_count)  # slots of all ranks that need an example; which are this rank's
    if free:
        learner.refill(canvas, stream.draw(canvas, free, mine))
    metrics = learner.step(canvas, progress)

A step runs its slots in chunks of at most `chunk_tokens` tokens, whose gradients add up: memory is that of a chunk, and
what is learned is the same for any size of them, up to rounding.

Letters: B slots of this rank, S canvas tokens, W width of a puzzle embedding row.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from kernels.canvas import Canvas
from kernels.upload import upload
from solver.learning.loss import Losses, continue_target, step_losses
from solver.learning.optimizers import LossScale, TrunkOptimizer, sign_sgd_
from solver.learning.ranks import Ranks
from solver.model.device import in_precision
from solver.model.layers import Layer
from solver.model.linear import Linear
from solver.model.packing import Packing
from solver.model.trm import TRM, Condition, Output, State
from solver.settings.config import LearnerConfig
from solver.tokens.encode import Batch


@dataclass
class Slots:
    """This rank's examples on one canvas and how far each one is."""

    total: int  # slots of all ranks
    steps: Tensor  # (B,) supervision steps done
    halted: Tensor  # (B,) bool: needs a new example
    batch: Batch | None = None  # None before the first examples
    state: State | None = None
    places: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # the halted ones, as `free` found them


class Metrics(NamedTuple):
    """Sums over this rank's slots in one step. They stay on the device, because reading one waits for it."""

    loss: Tensor
    token_loss: Tensor
    halting_loss: Tensor
    continue_loss: Tensor  # 0 without Q-learning
    right: Tensor  # slots whose whole sequence is right
    steps: Tensor  # supervision steps done
    slots: int  # of all ranks


class Trained(nn.Module):
    """What the optimizer updates: the trunk, and the puzzle embedding table if Adam updates that too."""

    def __init__(self, trunk: TRM, rows: nn.Parameter | None) -> None:
        super().__init__()
        self.trunk, self.rows = trunk, rows

    def forward(
        self, batch: Batch, rows: Tensor | None, state: State, canvas: Canvas | Packing
    ) -> tuple[Tensor, Output]:
        """The question x, and one supervision step on it. `rows` (B, W); None: look them up in the table."""
        rows = self.rows[batch.ids] if rows is None else rows  # type: ignore[index]
        x = self.trunk.embed(batch.inputs, Condition(rows, batch.symmetry), canvas)
        return x, self.trunk(x, state, canvas)


@dataclass
class Learner:
    """A model, its puzzle embedding table, and everything that updates them.

    The `table` (rows, W) is updated row by row; with `row_optimizer="adam_atan2"` it is a parameter like any other.
    """

    model: TRM
    table: nn.Parameter
    config: LearnerConfig
    generator: torch.Generator  # on the CPU; decides exploration
    autocast: torch.dtype | None = None  # precision of the forward pass; None: float32
    ranks: Ranks = field(default_factory=Ranks)
    chunk_tokens: float = math.inf  # most tokens of one forward and backward pass; of one slot at least
    step_count: int = 0  # optimizer steps
    slots: dict[Canvas, Slots] = field(default_factory=dict)
    gradient_norm: Tensor | None = None  # of the trunk at the last step, before clipping; None without clipping

    def __post_init__(self) -> None:
        config, adam = self.config, self.config.row_optimizer == "adam_atan2"
        trained = Trained(self.model, self.table if adam else None)
        layers = [module for module in self.model.modules() if isinstance(module, Layer)]
        matrices = [part.weight for layer in layers for part in layer.modules() if isinstance(part, Linear)]
        others = [p for p in self.model.parameters() if all(p is not matrix for matrix in matrices)]
        groups: list[dict[str, Any]] = [{"params": matrices, "method": config.trunk_optimizer}]
        groups.append({"params": others, "lr": config.lr if config.embedding_lr is None else config.embedding_lr})
        if adam:
            groups.append({"params": [self.table], "lr": config.row_lr, "weight_decay": config.row_weight_decay})
        self.optimizer = TrunkOptimizer(groups, config.lr, config.betas, config.weight_decay)
        self._full_lrs = [group["lr"] for group in self.optimizer.param_groups]
        # torch's AveragedModel would start after the first step, not before it, and wait for the device at every step
        self._average = copy.deepcopy(trained)
        self._trained = trained
        self.scaler = LossScale(self.autocast == torch.float16)

    def averaged(self) -> tuple[TRM, Tensor]:
        """The moving average, which is what gets evaluated: the trunk, and the table (averaged only under Adam)."""
        average = self._average
        return average.trunk, (self.table if average.rows is None else average.rows).detach()

    def freeze_trunk(self, frozen: bool) -> None:
        """Train the puzzle embeddings alone (True) or everything (False)."""
        self.model.requires_grad_(not frozen)

    def free(self, canvas: Canvas, slot_count: int) -> tuple[int, slice]:
        """How many of the `slot_count` slots of a canvas need an example, and which of these belong to this rank.

        Both count over all ranks, so that all of them draw from the stream in one global order.
        """
        mine, slots = self.ranks.share(slot_count), self.slots.get(canvas)
        if slots is None or slots.total != slot_count:
            steps = torch.zeros(mine.stop - mine.start, dtype=torch.int64, device=self.table.device)
            slots = self.slots[canvas] = Slots(slot_count, steps, torch.ones_like(steps, dtype=torch.bool))
        halted = self.ranks.gather(slots.halted, slot_count).cpu().numpy()
        slots.places = halted[mine].nonzero()[0]
        return int(halted.sum()), slice(int(halted[: mine.start].sum()), int(halted[: mine.stop].sum()))

    def refill(self, canvas: Canvas, new: Batch) -> None:
        """Put new examples, with fresh states, into the halted slots of this rank: one for each, in order."""
        slots = self.slots[canvas]
        fresh = State(*(part.clone() for part in self.model.fresh_state(len(new.ids), new.packing or canvas)))
        if slots.batch is None or slots.state is None or len(new.ids) == len(slots.halted):
            slots.batch, slots.state, slots.steps = new, fresh, torch.zeros_like(slots.steps)
            return
        assert new.packing is None, "packed examples halt together"
        (halted,) = upload(self.table.device, slots.places)
        for mine, added in zip((*slots.batch[:-1], *slots.state), (*new[:-1], *fresh), strict=True):
            mine[halted] = added.to(mine.dtype)
        slots.steps[halted] = 0

    def step(
        self, canvas: Canvas, progress: float = 0.0, droppable: AbstractContextManager[None] | None = None
    ) -> Metrics:
        """One supervision step of every slot of a canvas, after `free` and `refill`.

        `progress` in [0, 1] places the step on the cosine schedule. `droppable` is entered for the forward and backward
        passes, nearly all of the work: what it raises leaves a learner that `refill` and `step` can be called on again.
        """
        slots = self.slots[canvas]
        passed = self.advance(canvas, progress, droppable)
        slots.state, slots.steps = passed.state, slots.steps + 1
        slots.halted = self._halts(slots.steps, passed.halting, slots.total)
        tokens, halting, continuing, right = (part.sum() for part in passed.losses)
        loss = passed.losses.total().sum()
        return Metrics(loss, tokens, halting, continuing, right, slots.steps.sum(), slots.total)

    def advance(
        self, canvas: Canvas, progress: float = 0.0, droppable: AbstractContextManager[None] | None = None
    ) -> "_Passed":
        """The part of `step` that needs memory: all passes, and the move of the weights; slots stay as they are."""
        slots = self.slots[canvas]
        assert slots.batch is not None, "slots are filled before a step"
        with droppable or nullcontext():
            passed = self._pass(slots, canvas)
        self._move(progress, slots.total, slots.batch.ids, passed.row_gradients)
        return passed

    def _pass(self, slots: Slots, canvas: Canvas) -> "_Passed":
        """Forward and backward pass of all chunks, whose gradients add up."""
        assert slots.batch is not None
        assert slots.state is not None
        self.optimizer.zero_grad()  # of a step that was dropped
        looked_up, parts = self.config.row_optimizer == "sign_sgd", list[_Passed]()
        for chosen, batch, state in _chunks(slots.batch, slots.state, self.chunk_tokens):
            rows = self.table[batch.ids].detach().requires_grad_() if looked_up else None
            with in_precision(self.table.device, self.autocast):
                x, output = self._trained(batch, rows, state, batch.packing or canvas)
                losses = self._losses(batch, slots.steps[chosen], x.detach(), output, canvas)
            (losses.total().sum() / slots.total * self.scaler.scale).backward()
            losses = Losses(*(part.detach() for part in losses))
            gradients = None if rows is None else rows.grad
            parts.append(_Passed(losses, output.state, output.halting.detach(), gradients))
        self.ranks.add_up([p.grad for p in self._trained.parameters() if p.grad is not None])
        return _Passed.joined(parts, packed=slots.batch.packing is not None)

    def abandon_step(self) -> None:
        """After a step that ran out of memory: drop its gradients, and the examples and states of every canvas."""
        self.optimizer.zero_grad()
        self.slots.clear()

    def halve_passes(self, step_tokens: float, slot_tokens: int) -> bool:
        """Run steps in passes of half as many tokens, after one of `step_tokens` ran out of memory.

        False: its passes have a single slot, of `slot_tokens`, already.
        """
        before = min(self.chunk_tokens, step_tokens)
        if before < 2 * slot_tokens:
            return False
        self.chunk_tokens = before / 2
        return True

    @torch.no_grad()
    def recompute_states(self, canvas: Canvas) -> None:
        """Bring the fresh states of slots to their supervision steps, which they did with slightly older weights."""
        slots = self.slots[canvas]
        assert slots.batch is not None
        assert slots.state is not None
        steps = slots.steps.where(~slots.halted, 0)
        for done in range(int(steps.max())):
            for chosen, batch, state in _chunks(slots.batch, slots.state, self.chunk_tokens):
                with in_precision(self.table.device, self.autocast):
                    _, output = self._trained(batch, self.table[batch.ids], state, canvas)
                going = steps[chosen] > done
                for old, new in zip(state, output.state, strict=True):
                    old[going] = new[going].to(old.dtype)

    def lr_factor(self, progress: float) -> float:
        """Warm-up (step / warmup_steps, from step 1), then what `LearnerConfig.schedule` says."""
        config, progress = self.config, min(1.0, progress)
        factor = min(1.0, (self.step_count + 1) / max(1, config.warmup_steps))
        if config.schedule == "cosine":
            low = config.lr_min_ratio
            factor *= low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress))
        elif config.schedule == "stable" and config.decay_share:
            factor *= min(1.0, (1 - progress) / config.decay_share)
        return factor

    def _losses(self, batch: Batch, steps: Tensor, x: Tensor, output: Output, canvas: Canvas) -> Losses:
        target = None
        if self.model.config.halting == "q_learning":
            with torch.no_grad():
                ahead = self.model(x, output.state, canvas).halting
            target = continue_target(ahead, steps + 1 >= self.config.supervision_steps)
        halting = None if self.model.config.halting == "none" else output.halting
        return step_losses(output.logits, halting, batch.labels, self.config.loss, target, batch.packing)

    def _move(self, progress: float, total: int, ids: Tensor, row_gradients: Tensor | None) -> None:
        factor = self.lr_factor(progress)
        for group, full_lr in zip(self.optimizer.param_groups, self._full_lrs, strict=True):
            group["lr"] = full_lr * factor
        gradients = [p.grad for p in self._trained.parameters() if p.grad is not None]
        if row_gradients is not None:
            ids, row_gradients = (self.ranks.gather(part, total) for part in (ids, row_gradients))
            gradients.append(row_gradients)
        if self.scaler.unscale(gradients):
            if self.config.clip_norm is not None:
                self.gradient_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
            self.optimizer.step()
            if row_gradients is not None:
                sign_sgd_(self.table, ids, row_gradients, self.config.row_lr * factor, self.config.row_weight_decay)
            with torch.no_grad():
                averaged, trained = (list[Tensor](module.parameters()) for module in (self._average, self._trained))
                torch._foreach_lerp_(averaged, trained, 1 - self.config.ema_decay)
        self.optimizer.zero_grad()
        self.step_count += 1

    def _halts(self, steps: Tensor, halting: Tensor, total: int) -> Tensor:
        """Which slots halt: at the last step, or when the head says so, after a random minimum if they explore.

        Every rank draws for all slots, so that the number of ranks does not change what is explored.
        """
        last, mine = self.config.supervision_steps, self.ranks.share(total)
        if self.model.config.halting == "none":
            return steps >= last
        explores = torch.rand(total, generator=self.generator) < self.config.exploration
        minimum = torch.randint(2, max(last, 2) + 1, (total,), generator=self.generator).where(explores, 0)
        to_halt, to_continue = halting.unbind(dim=1)
        wants = to_halt > (0 if self.model.config.halting == "binary" else to_continue)
        return (steps >= last) | (wants & (steps >= upload(steps.device, minimum[mine])[0]))


class _Passed(NamedTuple):
    """What the forward and backward pass of some slots leaves, detached."""

    losses: Losses
    state: State
    halting: Tensor  # (B, 2) logits
    row_gradients: Tensor | None  # (B, W); None: those of the table are with the other gradients

    @classmethod
    def joined(cls, parts: "list[_Passed]", packed: bool) -> "_Passed":
        """Those of all slots; packed states follow one another in one sequence."""
        if len(parts) == 1:
            return parts[0]
        losses, states, halting, gradients = zip(*parts, strict=True)
        return cls(
            Losses(*map(torch.cat, zip(*losses, strict=True))),
            State(*(torch.cat(part, dim=int(packed)) for part in zip(*states, strict=True))),
            torch.cat(halting),
            None if gradients[0] is None else torch.cat(gradients),
        )


def _chunks(batch: Batch, state: State, most: float) -> Iterator[tuple[slice, Batch, State]]:
    """Parts of at most `most` tokens, or of a single sample: which samples, their examples and their states."""
    packing, count = batch.packing, len(batch.ids)
    lengths = [state.y.shape[1]] * count if packing is None else packing.lengths
    starts, tokens = [0], 0
    for sample, length in enumerate(lengths):
        if tokens and tokens + length > most:
            starts.append(sample)
            tokens = 0
        tokens += length
    if len(starts) == 1:
        yield slice(count), batch, state
        return
    for first, last in pairwise([*starts, count]):
        chosen = slice(first, last)
        place: Any = chosen
        if packing is not None:
            place = (slice(None), slice(sum(lengths[:first]), sum(lengths[:last])))
        part = None if packing is None else packing.part(chosen, place[1])
        columns = batch.inputs[place], batch.labels[place], batch.ids[chosen], batch.symmetry[chosen]
        yield chosen, Batch(*columns, part), State(*(whole[place] for whole in state))
