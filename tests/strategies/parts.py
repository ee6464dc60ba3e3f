"""Every registered function as test parameters, so that one registered tomorrow is tested tomorrow."""

import inspect
import math

import numpy as np
import pytest
from hawthorn.strategies import Geometry, geometric_median
from hawthorn.strategies.columns import Columns
from hawthorn.strategies.contract import POLICIES, RULES, SCORES, TRANSFORMS, options_of
from matrices import tolerable

LAWS = {"order", "columns", "translation", "scale", "sign", "rotation", "agreement", "survival", "size"}


def every(*tables, law=None):
    """Decorates a test with a parameter `part` for each entry; one exempt from `law` must fail, for its own reason."""
    parts = [part for table in tables for part in table.values()]
    return pytest.mark.parametrize("part", [_parameter(part, law) for part in parts])


def _parameter(part, law):
    reason = getattr(part, "exempt", {}).get(law)
    marks = [pytest.mark.xfail(strict=True, raises=AssertionError, reason=f"{part.name}: {reason}")] if reason else []
    return pytest.param(part, id=part.name, marks=marks)


def options(part):
    """What an option without a default is given: 1, so choose such options' units well."""
    return {name: 1.0 for name, default in options_of(part.function).items() if default is inspect.Parameter.empty}


def supplied(part, updates):
    """What a rule that cannot do without is given by its caller: the server's own update is the rows' robust center."""
    return {"trusted": geometric_median(updates)} if "trusted" in getattr(part, "asked", ()) else {}


def apply(part, updates, f=None):
    """The part applied to updates, with an f that every rule tolerates unless one is given."""
    f = tolerable(len(updates)) if f is None else f
    return part(updates, f=f, **options(part), **supplied(part, updates))


def combination(part, rows, f, geometry=None):
    """What a geometric rule answers on the geometry of rows `(n, d)`, with all that it asks for."""
    given = {name: Geometry.of(np.vstack([rows, row])) for name, row in supplied(part, rows).items()}
    if "columns" in part.asked:
        given["columns"] = Columns.of(rows)
    return part.combination(geometry or Geometry.of(rows), f=f, **options(part), **given)


def scored(part, rows, f=None, **given):
    """What a score says of rows `(n, d)`, with all that it cannot do without unless that is given."""
    beside = {name: Geometry.of(np.vstack([rows, row])) for name, row in supplied(part, rows).items()}
    columns = {"columns": Columns.of(rows)} if "columns" in part.asked else {}
    f = tolerable(len(rows)) if f is None else f
    return part(Geometry.of(rows), f=f, **{**options(part), **beside, **columns, **given})


def exact_scale(rows):
    """A typical length of the rows, for tolerances."""
    norms = np.linalg.norm(np.asarray(rows, dtype=np.float64), axis=1)
    return float(np.median(norms)) or 1.0


def rotation(rng, d):
    """A random orthogonal matrix (d, d)."""
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def least_rows(part, f):
    """The fewest rows the part takes with f hostile ones."""
    return next(n for n in range(1, 100) if n >= part.least(f))


def powers_of_two(rng, count):
    return np.array([math.ldexp(1.0, int(k)) for k in rng.integers(-30, 30, size=count)])


__all__ = [
    "LAWS",
    "POLICIES",
    "RULES",
    "SCORES",
    "TRANSFORMS",
    "apply",
    "combination",
    "every",
    "exact_scale",
    "options",
    "rotation",
    "scored",
    "supplied",
]
