"""What an inspection writes: the update, or the model after it, in a file of the kind that its name says."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hawthorn.strategies import SettingError, UpdateError
from hawthorn.strategies.kernels.difference import finite
from numpy.lib import format as npy
from numpy.typing import NDArray

from . import tensors
from .inspection import Inspection
from .layout import Sent

KINDS = (".npz", ".npy", ".safetensors", ".pt", ".pth")

Named = Mapping[str, tuple[str, NDArray[Any]]]
"""Arrays by name, each with its dtype's name; those of bfloat16 are float32."""


def check_kind(target: str) -> None:
    """Raise `SettingError` for a file of a kind that is not written."""
    if target and Path(target).suffix.lower() not in KINDS:
        raise SettingError(f"--save must be a file {', '.join(KINDS)}, got {target!r}")


def save(inspection: Inspection, model: Sent | None, target: Path) -> None:
    """Write the update, or the model after it, whose whole numbers are as they were sent; raises `SettingError`."""
    if inspection.update is None or inspection.layout is None:
        raise SettingError(f"--save: there is no update to write: {inspection.skipped}")
    row = inspection.update if model is None else model.row + inspection.update
    arrays: dict[str, tuple[str, NDArray[Any]]] = {}
    for name, place in inspection.layout.places.items():
        if place.columns is not None:
            numbers = row[place.columns].reshape(place.shape)
            arrays[name] = (place.dtype, _fitting(name, numbers, place.dtype))
        elif model is not None:
            arrays[name] = (place.dtype, model.integers[name])
    _check_names(arrays, target)
    target.write_bytes(_bytes(arrays, target.suffix.lower()))


def _fitting(name: str, numbers: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The numbers in the dtype that is kept, bfloat16 in float32."""
    kept = "float32" if dtype == "bfloat16" else dtype
    with np.errstate(over="ignore"):  # told below
        fitting = numbers.astype(kept)
    if not finite(fitting) or (dtype == "bfloat16" and fitting.size and np.abs(fitting).max() > LARGEST_BFLOAT16):
        raise UpdateError(f"--save: array {name!r} holds numbers that {dtype} cannot hold")
    return fitting


LARGEST_BFLOAT16 = float(np.array([0x7F7F << 16], np.uint32).view(np.float32)[0])


def _check_names(arrays: Named, target: Path) -> None:
    if target.suffix.lower() == ".npy" and len(arrays) > 1:
        raise SettingError(f"--save: an .npy file holds one array, and there are {len(arrays)}: write .npz")


def _bytes(arrays: Named, kind: str) -> bytes:
    if kind == ".safetensors":
        return tensors.content({name: (dtype, _bits(dtype, numbers)) for name, (dtype, numbers) in arrays.items()})
    file = io.BytesIO()
    if kind == ".npy":
        np.save(file, next(iter(arrays.values()))[1], allow_pickle=False)
    elif kind == ".npz":
        with zipfile.ZipFile(file, "w") as archive:  # numpy.savez has arguments of its own, and arrays may be called so
            for name, (_, numbers) in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    npy.write_array(member, numbers, allow_pickle=False)
    else:
        _save_pytorch(file, arrays)
    return file.getvalue()


def _bits(dtype: str, numbers: NDArray[Any]) -> NDArray[Any]:
    """The numbers, of bfloat16 the bits, rounded to nearest even."""
    if dtype != "bfloat16":
        return numbers
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _save_pytorch(file: io.BytesIO, arrays: Named) -> None:
    try:
        import torch
    except ModuleNotFoundError:
        raise SettingError("--save: to write PyTorch files torch is needed: install hawthorn[torch]") from None
    kept = {name: torch.from_numpy(np.array(numbers)) for name, (_, numbers) in arrays.items()}
    dtypes = {name: dtype for name, (dtype, _) in arrays.items()}
    torch.save(
        {name: one.to(torch.bfloat16) if dtypes[name] == "bfloat16" else one for name, one in kept.items()}, file
    )
