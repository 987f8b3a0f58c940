"""A pretend accelerator: real numbers on a second device, for code that meets no card here.

The device is torch's PrivateUse1 as a Python backend. Its tensors hold CPU tensors and compute on them, but like a
card's they refuse to be mixed with CPU tensors, and what makes the host wait for the device is counted by file and
line. Only for machines without a card: torch pins memory for one accelerator per process.
"""

import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
ROOT = Path(__file__).parents[1]
aten = torch.ops.aten
WAITS = {aten._local_scalar_dense, aten.item, aten.equal, aten.is_nonzero, aten.nonzero, aten.masked_select}
WAITS |= {aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave, aten.bincount}
INDEXES = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
COPIES = {aten._to_copy, aten.copy_}


_waits = [Counter[str]()]


@contextmanager
def counting_waits() -> Iterator[Counter[str]]:
    """Counts how often the host waits for the device inside, by "file:line operator"."""
    _waits.append(Counter())
    try:
        yield _waits[-1]
    finally:
        _waits.pop()


class PretendTensor(torch.Tensor):
    """A tensor of the pretend device; `held` is the CPU tensor with its values."""

    held: torch.Tensor

    @staticmethod
    @torch.inference_mode(False)  # whose tensors have no version counter, which views of wrappers need
    def __new__(cls, held: torch.Tensor) -> "PretendTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{NAME}: {self.held!r}"

    @property
    def data(self) -> torch.Tensor:
        return self.detach()

    @data.setter
    def data(self, new: Any) -> None:
        torch.Tensor.data.__set__(self, new)  # type: ignore[attr-defined]
        self.held = new.held

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        kwargs = dict(kwargs or {})
        if func.overloadpacket is aten.to:  # inference mode leaves it whole
            given = {name: value for name, value in kwargs.items() if name not in ("layout", "pin_memory")}
            device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args[1:], **given)
            place = device or args[0].device
            if place == args[0].device and dtype in (None, args[0].dtype):
                return args[0]
            func, args = aten._to_copy.default, args[:1]
            kwargs = {"device": place, "dtype": dtype or args[0].dtype, "non_blocking": non_blocking}
        made = run(func, args, kwargs)
        if func.overloadpacket is aten._to_copy:
            return made
        with torch.inference_mode(False):
            return return_and_correct_aliasing(func, args, kwargs, made)


def run(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run an operator of which an argument or the result is on the device."""
    target = kwargs.get("device")
    _check_devices(func, args, kwargs)
    _count_waits(func, args, kwargs)
    if target is not None:
        kwargs["device"] = torch.device("cpu")
    kwargs.pop("pin_memory", None)
    held_args, held_kwargs = _held(args), {name: _held(value) for name, value in kwargs.items()}
    held = func(*held_args, **held_kwargs)
    if func.overloadpacket is aten.copy_ and not isinstance(args[0], PretendTensor):
        return args[0]
    if target is not None and torch.device(target).type == "cpu":
        return held.clone() if held is held_args[0] else held
    return _wrapped(held)


def _held(value: Any) -> Any:
    if isinstance(value, PretendTensor):
        return value.held
    return type(value)(map(_held, value)) if type(value) in (list, tuple) else value


def _wrapped(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return PretendTensor(value)
    return type(value)(map(_wrapped, value)) if type(value) in (list, tuple) else value


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif type(value) in (list, tuple):
        for part in value:
            yield from _tensors(part)


def _check_devices(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    if func.overloadpacket in COPIES:
        return
    for tensor in _tensors([*args, *kwargs.values()]):
        if not isinstance(tensor, PretendTensor) and (tensor.dim() or func.overloadpacket in INDEXES):
            raise RuntimeError(f"{func}: expected all tensors to be on {NAME}, got one on {tensor.device}")


def _count_waits(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    packet = func.overloadpacket
    waits = packet in WAITS
    if packet in INDEXES:
        waits = any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1])
    if packet in COPIES:
        source = args[1] if packet is aten.copy_ else args[0]
        place = args[0].device if packet is aten.copy_ else torch.device(kwargs.get("device") or source.device)
        if place.type != source.device.type:
            blocks = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
            waits = blocks or place.type == "cpu"
    if waits:
        _waits[-1][f"{_place()} {packet.__name__}"] += 1


def _place() -> str:
    """The file and line of the project, without tests, that called."""
    frame = sys._getframe()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and ".venv" not in path.parts and path.parts[len(ROOT.parts)] != "tests":
            return f"{path.relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"


class _Module:
    """What torch asks the module of a device."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def _add_autocast() -> None:
    """As on a card, autocast runs products in half precision and leaves all other operators as they are."""
    key = "AutocastPrivateUse1"
    others = torch.library.Library("_", "IMPL")
    others.fallback(torch.library.fallthrough_kernel, key)
    products = torch.library.Library("aten", "IMPL")
    _library.extend([others, products])
    without = torch._C.DispatchKeySet(torch._C._dispatch_key_parse(key))

    def halved(func: Any, *args: Any, **kwargs: Any) -> Any:
        dtype = torch.get_autocast_dtype(NAME)
        halves = (a.to(dtype) if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args)
        with torch._C._ExcludeDispatchKeyGuard(without):
            return func(*halves, **kwargs)

    for func in (aten.linear.default, aten.matmul.default, aten.scaled_dot_product_attention.default):
        products.impl(func, partial(halved, func), key)


_library: list[torch.library.Library] = []
_lock = threading.Lock()


def pretend_device() -> torch.device:
    """The device; registers it on first use, for as long as this process lives."""
    with _lock:
        if not _library:
            _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
            library = torch.library.Library("_", "IMPL")
            library.fallback(lambda func, *args, **kwargs: run(func, args, kwargs), "PrivateUse1")
            ranges = torch.library.Library("aten", "IMPL")
            for func in (aten.arange.default, aten.arange.start, aten.arange.start_step):  # torch's own ones resize
                ranges.impl(func, lambda *args, func=func, **kwargs: run(func, args, kwargs), "PrivateUse1")
            _library.extend([library, ranges])
            _add_autocast()
    return torch.device(NAME)
