"""Retained updates: what every admitted client sent in a round, so that the round can be held again without some."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from .files import contents, stored

LARGEST_HALF = float(np.finfo(np.float16).max)


def save_updates(folder: Path, rows: NDArray[Any], *, half: bool) -> str:
    """The digest of updates `(n, d)`, which are on the disk when this returns; raises `AuditError`.

    With `half` they are kept in float16 beside a scale for each row, so that no row is too long or too short for it.
    """
    if not half:
        return stored(folder, "updates", save({"rows": np.ascontiguousarray(rows)}))
    scales = np.array([float(np.abs(row).max(initial=0.0)) or 1.0 for row in rows])
    short = np.empty(rows.shape, np.float16)
    for row, scale, into in zip(rows, scales, short, strict=True):
        into[:] = row / row.dtype.type(scale)
    return stored(folder, "updates", save({"rows": short, "scales": scales, "like": np.empty(0, rows.dtype)}))


def load_updates(folder: Path, digest: str) -> tuple[NDArray[Any], bool]:
    """The updates `(n, d)` of a digest, and whether they were kept in half precision; raises `AuditError`."""
    tensors = load(contents(folder, "updates", digest))
    rows = tensors["rows"]
    if "scales" not in tensors:
        return rows, False
    wide = rows.astype(tensors["like"].dtype)
    wide *= tensors["scales"][:, None].astype(wide.dtype)
    return wide, True


def row_digests(rows: NDArray[Any]) -> list[str]:
    """The SHA-256 of each row's bytes, little-endian."""
    return [hashlib.sha256(np.ascontiguousarray(row).data.cast("B")).hexdigest() for row in rows]
