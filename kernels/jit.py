"""How numba compiles here: lazily, and cached on disk where the disk allows it."""

from collections.abc import Callable
from typing import Any

import numba


def jit(parallel: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: numba's nopython mode, compiled at the first call, the machine code kept beside the source.

    Where no folder can be written (Kaggle's input folder is read-only), numba refuses at decoration with a
    RuntimeError; the function then compiles once a process. The cache notices changes in the file of a compiled
    function only: so these functions call none of another file, and take their tables as arguments.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(function, cache=True, parallel=parallel)
        except RuntimeError:
            return numba.njit(function, cache=False, parallel=parallel)

    return decorate
