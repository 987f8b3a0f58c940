"""The processes (ranks) that train together under torchrun, and what they exchange.

A global batch of slots is cut into one contiguous part per rank. Decisions about slots (which take new examples, which
explore) are made for all slots on every rank, so that the number of ranks does not change the training.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """One process among `count`. The default is a single process, which exchanges nothing."""

    rank: int = 0
    count: int = 1

    def share(self, total: int) -> slice:
        """This rank's part of `total` slots: contiguous, in order of rank, with sizes that differ by at most one."""
        return slice(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def gather(self, mine: Tensor, total: int) -> Tensor:
        """The rows of all ranks (total, …), in order; `mine` are this rank's."""
        if self.count == 1:
            return mine
        shares = [Ranks(rank, self.count).share(total) for rank in range(self.count)]
        sizes = [share.stop - share.start for share in shares]
        padded = mine.new_zeros((max(sizes), *mine.shape[1:]))
        padded[: len(mine)] = mine
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def total(self, numbers: Sequence[float]) -> list[float]:
        if self.count == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=_exchange_device())
        dist.all_reduce(sums)
        return sums.tolist()

    def wait(self) -> None:
        if self.count > 1:
            dist.barrier()

    def add_up(self, gradients: Sequence[Tensor]) -> None:
        """Replace gradients by their sums over the ranks, in one exchange.

        torch's DistributedDataParallel would exchange some while others are computed, ordered by the step before them.
        The sums of three ranks or more would then depend on when a run was resumed.
        """
        if self.count == 1 or not gradients:
            return
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(joined)
        for gradient, part in zip(gradients, joined.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def _exchange_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def join_ranks(device: torch.device) -> tuple[Ranks, torch.device]:
    """Join the ranks that torchrun started; a single process otherwise. Returns this rank and its device."""
    if "WORLD_SIZE" not in os.environ:
        return Ranks(), device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    store, rank, count = next(dist.rendezvous("env://"))
    # torchrun's store survives a restart: without a prefix, new ranks would read the addresses of dead ones
    store = dist.PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    return Ranks(dist.get_rank(), dist.get_world_size()), device


def leave_ranks() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
