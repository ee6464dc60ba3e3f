"""The audit: every run, round and verdict in a database, so that any of them can be explained later."""

from .records import Contribution, Round, Run
from .store import Audit, RunAudit

__all__ = ["Audit", "RunAudit", "Run", "Round", "Contribution"]
