"""The processes that train together under torchrun: who this one is, and what they exchange.

A global batch of B slots is cut into one run of slots a rank; whatever a step decides for all slots (which take new
examples, which explore) is decided alike on every rank, so that the number of ranks does not change the training.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Ranks:
    """One process among `count`; alone by default, and then nothing is exchanged."""

    rank: int = 0
    count: int = 1

    def share(self, total: int) -> slice:
        """This rank's part of `total` slots: parts are contiguous, in order of rank, and differ by one at most."""
        return slice(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def sizes(self, total: int) -> list[int]:
        """How many of `total` slots each rank has."""
        return [total * (rank + 1) // self.count - total * rank // self.count for rank in range(self.count)]

    def gather(self, mine: Tensor, total: int) -> Tensor:
        """The rows of all ranks (total, …), in order, from this rank's (share of total, …)."""
        if self.count == 1:
            return mine
        sizes = self.sizes(total)
        padded = mine.new_zeros((max(sizes), *mine.shape[1:]))
        padded[: len(mine)] = mine
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def total(self, numbers: Sequence[float]) -> list[float]:
        """The sums over the ranks of some numbers."""
        if self.count == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=_exchange_device())
        dist.all_reduce(sums)
        return sums.tolist()

    def wait(self) -> None:
        """Return when every rank has come here."""
        if self.count > 1:
            dist.barrier()

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the ranks in every backward pass."""
        return module if self.count == 1 else DistributedDataParallel(module)

    def exchanging(self, module: nn.Module, now: bool) -> AbstractContextManager[Any]:
        """The context of a forward and backward pass whose gradients are averaged now, or kept for a later one."""
        return module.no_sync() if isinstance(module, DistributedDataParallel) and not now else nullcontext()


def _exchange_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def join_ranks(device: torch.device) -> tuple[Ranks, torch.device]:
    """The ranks torchrun started, and this one's device; alone if torchrun did not start this process."""
    if "WORLD_SIZE" not in os.environ:
        return Ranks(), device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    store, rank, count = next(dist.rendezvous("env://"))
    # torchrun's store outlives a restart: the addresses of the ranks that died would be taken for those of the new ones
    store = dist.PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    return Ranks(dist.get_rank(), dist.get_world_size()), device


def leave_ranks() -> None:
    """Take leave of the other ranks."""
    if dist.is_initialized():
        dist.destroy_process_group()
