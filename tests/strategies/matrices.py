"""Rounds of updates that have made aggregation rules fail, by name; each is a function of a generator and a size."""

import numpy as np


def plain(rng, n, d):
    """Rows about a common direction, as training gives them."""
    return rng.normal(size=(n, d)) + rng.normal(size=d)


def offset(rng, n, d):
    """A common part 1e6 times the spread."""
    return rng.normal(size=(n, d)) + 1e6 * rng.normal(size=d)


def huge(rng, n, d):
    """One row 1e30 long."""
    rows = plain(rng, n, d)
    rows[n // 3] = 1e30 * _direction(rng, d)
    return rows


def huge_offset(rng, n, d):
    """One row 1e30 long beside rows with a common part."""
    rows = offset(rng, n, d)
    rows[n // 3] = -1e30 * _direction(rng, d)
    return rows


def several_huge(rng, n, d):
    """Rows of 1e20 and 1e30, f of them for the f of `tolerable`."""
    rows = plain(rng, n, d)
    for row, size in zip(range(tolerable(n)), (1e30, 1e20, 3e30, 1e12), strict=False):
        rows[2 * row] = size * _direction(rng, d)
    return rows


def tiny(rng, n, d):
    """Everything about 1e-22 long."""
    return 1e-22 * plain(rng, n, d)


def denormal(rng, n, d):
    """Everything below the normal numbers of float32."""
    return 1e-42 * plain(rng, n, d)


def duplicates(rng, n, d):
    """Every row but the last ones is there twice."""
    rows = plain(rng, n, d)
    rows[n // 2 : n // 2 * 2] = rows[: n // 2]
    return rows


def twins(rng, n, d):
    """Rows that differ in one column each, which may be any."""
    rows = np.tile(rng.normal(size=d), (n, 1))
    rows[np.arange(n), rng.integers(0, d, size=n)] += rng.normal(size=n)
    return rows


def lattice(rng, n, d):
    """Small whole numbers: ties everywhere, and nothing is rounded."""
    return rng.integers(-2, 3, size=(n, d)).astype(np.float64)


def zeros(rng, n, d):
    """All but one row are zero."""
    rows = np.zeros((n, d))
    rows[n // 2] = 1.0
    return rows


def scattered(rng, n, d):
    """Each row of a length of its own, from 1e-9 to 1e9."""
    return plain(rng, n, d) * (10.0 ** rng.uniform(-9, 9, size=n))[:, None]


def astronomic(rng, n, d):
    """One row 1e200 long; float64 only."""
    rows = plain(rng, n, d)
    rows[n // 3] = 1e200 * _direction(rng, d)
    return rows


def astronomic_several(rng, n, d):
    """Rows of 1e160 to 1e300 beside a common part; float64 only."""
    rows = offset(rng, n, d)
    for row, size in zip(range(tolerable(n)), (1e300, 1e160, 1e250, 1e200), strict=False):
        rows[2 * row] = size * _direction(rng, d)
    return rows


def astronomic_all(rng, n, d):
    """Every row about 1e200 long; float64 only."""
    return 1e200 * plain(rng, n, d)


def faint_all(rng, n, d):
    """Every row about 1e-200 long; float64 only."""
    return 1e-200 * plain(rng, n, d)


MATRICES = {
    function.__name__: function
    for function in (
        plain,
        offset,
        huge,
        huge_offset,
        several_huge,
        tiny,
        denormal,
        duplicates,
        twins,
        lattice,
        zeros,
        scattered,
        astronomic,
        astronomic_several,
        astronomic_all,
        faint_all,
    )
}
FLOAT64_ONLY = {"astronomic", "astronomic_several", "astronomic_all", "faint_all"}
CASES = [
    (name, dtype)
    for name in MATRICES
    for dtype in ("float32", "float64")
    if name not in FLOAT64_ONLY or dtype[-2:] == "64"
]


def matrix(name, seed, n=11, d=23, dtype="float64"):
    """The named round, for the oracles and the package alike: what is rounded to `dtype` is rounded once, here."""
    return MATRICES[name](np.random.default_rng(seed), n, d).astype(dtype)


def tolerable(n):
    """An f that every rule tolerates among n rows."""
    return max((n - 3) // 4, 0)


def _direction(rng, d):
    direction = rng.normal(size=d)
    return direction / np.linalg.norm(direction)
