"""How loops are compiled: when first called, once per machine, and without holding the interpreter lock."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

# what is inlined into the loops is not in the files that numba watches
INLINED = hashlib.sha256(
    b"".join(Path(__file__).with_name(name).read_bytes() for name in ("lanes.py", "order.py", "selection.py"))
)


def jit(function: Callable[..., Any]) -> Any:
    """The function, compiled when it is first called and kept on disk; where nothing can be kept, in every process."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no directory that it may write to
        return numba.njit(**options)(function)
    compiled._cache = _Kept(compiled._cache)
    return compiled


class _Kept:
    """Numba's cache of a function, to which a disk that is full or a file that is broken is no error."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache
        self.key = cache._index_key
        cache._index_key = self.index_key

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cache, name)

    def index_key(self, *arguments: Any) -> Any:
        """What tells one compiled variant from another."""
        return self.key(*arguments), INLINED.hexdigest()

    def load_overload(self, *arguments: Any) -> Any:
        """What was kept, or None."""
        try:
            return self.cache.load_overload(*arguments)
        except Exception:  # whatever a broken file may raise: it is compiled again
            with contextlib.suppress(Exception):
                self.cache.flush()
            return None

    def save_overload(self, *arguments: Any) -> None:
        """Keep what was compiled, if that can be done."""
        with contextlib.suppress(Exception):
            self.cache.save_overload(*arguments)
