"""How loops are compiled: when first called, once per machine, and without holding the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def jit(function: Callable[..., Any]) -> Any:
    """The function, compiled when it is first called and kept on disk; where nothing can be kept, in every process."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no directory that it may write to
        return numba.njit(**options)(function)
