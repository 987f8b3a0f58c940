"""Numba compilation: lazy, and cached on disk where possible."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
from numba.core.caching import FunctionCache


class _Cache(FunctionCache):
    """Numba's cache, except that files which cannot be read or written cost a compilation, not the run."""

    def load_overload(self, *what: Any) -> Any:
        try:
            return super().load_overload(*what)
        except Exception:  # whatever a damaged file makes unpickling raise
            return None

    def save_overload(self, *what: Any) -> None:
        try:
            super().save_overload(*what)
        except Exception:  # a damaged index is read before it is written
            with suppress(OSError):  # a full disk
                self.flush()  # write an empty one
                super().save_overload(*what)


def jit(parallel: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: numba's nopython mode, compiled at the first call, with the machine code cached beside the source.

    If no cache folder is writable (Kaggle's input folder is read-only), numba raises RuntimeError; the function then
    compiles once per process. The cache only notices changes in the function's own file, so these functions call no
    function of another file and take their tables as arguments.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Any = numba.njit(function, parallel=parallel)
        with suppress(RuntimeError):
            compiled._cache = _Cache(function)
        return compiled

    return decorate
