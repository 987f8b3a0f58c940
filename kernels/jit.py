"""Numba compilation: lazy, and cached on disk where possible."""

from collections.abc import Callable
from typing import Any

import numba


def jit(parallel: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: numba's nopython mode, compiled at the first call, with the machine code cached beside the source.

    If no cache folder is writable (Kaggle's input folder is read-only), numba raises RuntimeError at decoration; the
    function then compiles once per process. The cache only notices changes in the function's own file, so these
    functions call no function of another file and take their tables as arguments.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(function, cache=True, parallel=parallel)
        except RuntimeError:
            return numba.njit(function, cache=False, parallel=parallel)

    return decorate
