"""The anomaly scores, one file per thing they look at; importing this package registers them.

Each answers one number per client, higher for clients more anomalous, in units that mean the same in every round: a
logarithm of a ratio, a cosine, a share. A policy compares them with the other clients' by median and MAD.
"""

import importlib
import pkgutil

for family in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{family.name}")
