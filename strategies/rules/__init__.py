"""The aggregation rules, one file per family. Importing this package imports them all, and so registers every rule."""

import importlib
import pkgutil

for family in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{family.name}")
