"""Vetting: what is wrong with a site's own data, asked before anything is trained on it.

`vetted(examples, ...)` answers a `Report`; `kept(examples, report)` what is left where the report drops some.
"""

from .digest import dataset_digest
from .report import Check, Drift, Finding, Report
from .vetting import Vetting, kept, vetted

__all__ = ["Check", "Drift", "Finding", "Report", "Vetting", "dataset_digest", "kept", "vetted"]
