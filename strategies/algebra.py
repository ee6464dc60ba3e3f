"""Algebra on small matrices, in one thread: a BLAS library's own threads cost more than they save.

OpenBLAS keeps its threads spinning for some 25 ms after a product, on the very cores that the kernels are about to use.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from threadpoolctl import ThreadpoolController


class _OneThread(contextlib.ContextDecorator):
    """While at least one caller is inside, BLAS libraries use one thread; the last one out sets back what was set."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.libraries: ThreadpoolController | None = None
        self.limit: Any = None

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.libraries = self.libraries or ThreadpoolController()  # a look at all that is loaded takes 1 ms
                self.limit = self.libraries.limit(limits=1, user_api="blas")

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.limit.restore_original_limits()


one_thread = _OneThread()
