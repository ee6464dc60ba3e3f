"""The audit: every run, round and verdict in a database, so that any of them can be explained later."""

from .census import Census
from .records import ClientRecord, Contribution, Entry, OrderRecord, Retained, Round, Run
from .store import Audit
from .writing import RunAudit

__all__ = [
    "Audit",
    "RunAudit",
    "Run",
    "Round",
    "Contribution",
    "ClientRecord",
    "Census",
    "OrderRecord",
    "Entry",
    "Retained",
]
