"""Peak memory before anything is allocated: the real code runs on tensors without data.

torch's FakeTensorMode gives every tensor its shape and no memory, and a dispatch mode adds up what is alive. What an
operator needs only while it runs, and what an allocator wastes, is not seen: hence `ROOM`. A step of width 512 on a
CPU, predicted to take 1.0 GB, took 1.4 GB.
"""

import warnings
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from solver.model.trm import TRM
from solver.settings.config import TRMConfig

ROOM = 0.7  # share of the free memory that is planned with


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors made inside that are alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.live, self.peak = 0, 0
        self._known = set[int]()

    def __torch_dispatch__(self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._known:
                    self._known.add(storage._cdata)
                    self.live += storage.nbytes()
                    weakref.finalize(storage, self._free, storage._cdata, storage.nbytes()).atexit = False
        self.peak = max(self.peak, self.live)
        return made

    def _free(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.live -= size


@contextmanager
def without_data(config: TRMConfig) -> Iterator[tuple[TRM, LiveBytes]]:
    """A model without data, where all tensors that are made have none either. Usable in any of torch's modes."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # here: to import it takes a second

    with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # copying a tensor without data looks for its data
        with torch.device("meta"):
            trunk = TRM(config)
        with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live:
            yield trunk.to_empty(device="cpu"), live
