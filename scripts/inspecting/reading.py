"""The arrays in a saved file, as the file claims them to be: nothing is read or executed before it has been checked.

Everything in a file is a claim, as everything in a reply is: sizes are held against the file's own before memory is
asked for, pickles are PyTorch's to read and made of tensors alone. What cannot be used is `Refused` with a reason.
"""

from __future__ import annotations

import math
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from hawthorn.strategies import SettingError
from hawthorn.strategies.flower.admission import Refused, shown
from hawthorn.strategies.flower.arrays import LONGEST_HEADER, header, view
from numpy.typing import NDArray

from . import tensors

Array = NDArray[Any]

FLOATS = ("float16", "bfloat16", "float32", "float64")
LONE = "update"  # the name of an array in a file that holds one and names none
CHECKPOINTS = ("state_dict", "model_state_dict", "model")  # under which name training scripts save a model
FORBIDDEN = re.compile(r"(?:GLOBAL|class) [^\n]*?(?= was not| is not|\.\s|\n|$)")


@dataclass(frozen=True)
class Stored:
    """An array as its file says it is; `read` gives its numbers, bfloat16 as float32, or raises `Refused`."""

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], Array]

    @property
    def floating(self) -> bool:
        """Whether it belongs into a row; whole numbers, such as counters of batches, do not."""
        return self.dtype in FLOATS


def arrays_in(path: Path) -> dict[str, Stored]:
    """The arrays of a file by their names; raises `Refused`.

    `SettingError` only where PyTorch is missing, which is not the file's fault.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise Refused(f"expected a file {', '.join(READERS)}, got {shown(path.suffix)}")
    if not path.is_file():
        raise Refused("expected a file, got something else of that name")
    try:
        found = dict(reader(path))
    except (Refused, SettingError):
        raise
    except Exception as error:  # whatever is wrong with a file is told of that file, and the others are read
        raise Refused(unreadable(error)) from None
    for name, array in found.items():
        if not array.floating and np.dtype(array.dtype).kind not in "iub":
            raise Refused(f"array {shown(name)} must hold numbers, got {array.dtype}")
    if not found:
        raise Refused("it holds no arrays")
    return found


def unreadable(error: Exception) -> str:
    """The reason for refusing a file that made a reader fail."""
    return f"it cannot be read: {type(error).__name__}: {shown(str(error).split(chr(10))[0])}"


def _npy(path: Path) -> Mapping[str, Stored]:
    with path.open("rb") as file:
        dtype, shape, fortran, start = _header(file.read(LONGEST_HEADER))
    name = _checked(LONE, dtype)
    _check_size(path.stat().st_size - start, math.prod(shape) * dtype.itemsize)
    return {LONE: Stored(name, shape, partial(mapped, path, dtype, shape, start, "F" if fortran else "C"))}


def _npz(path: Path) -> Mapping[str, Stored]:
    found: dict[str, Stored] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name == member.filename or name in found:
                raise Refused(f"expected .npy arrays of different names, got {shown(member.filename)}")
            with archive.open(member) as file:
                dtype, shape, _, start = _header(file.read(LONGEST_HEADER))
            stored = Stored(_checked(name, dtype), shape, partial(_member, path, member.filename))
            _check_size(member.file_size - start, math.prod(shape) * dtype.itemsize)
            found[name] = stored
    return found


def _member(path: Path, name: str) -> Array:
    """An array of an npz file, its checksum verified."""
    with zipfile.ZipFile(path) as archive:
        data = archive.read(name)
    return view(data, *_header(data))


def _header(data: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    try:
        return header(data)
    except ValueError as error:
        raise Refused(f"no readable npy header: {shown(str(error), 240)}") from None


def _check_size(found: int, expected: int) -> None:
    if found != expected:
        raise Refused(f"expected {expected} bytes after the header, got {found}")


def _safetensors(path: Path) -> Mapping[str, Stored]:
    start, entries = tensors.entries(path)
    found: dict[str, Stored] = {}
    for name, entry in entries.items():
        dtype = np.dtype("<u2" if entry.dtype == "bfloat16" else entry.dtype).newbyteorder("<")
        read = partial(mapped, path, dtype, entry.shape, start + entry.begin, "C")
        found[name] = Stored(entry.dtype, entry.shape, partial(_widened, read) if entry.dtype == "bfloat16" else read)
    return found


def _widened(read: Callable[[], Array]) -> Array:
    """The numbers whose bfloat16 bits are read, as float32."""
    return (read().astype(np.uint32) << 16).view(np.float32)


def mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], start: int, order: str) -> Array:
    """Numbers of a file, where they lie in it: read when they are looked at, and no more of them than that."""
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, cast("Any", order))


def _pytorch(path: Path) -> Mapping[str, Stored]:
    try:
        import torch
    except ModuleNotFoundError:
        raise SettingError(f"to read {path.name!r} torch is needed: install hawthorn[torch]") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # files from before PyTorch 1.6 are no zip archives and cannot be mapped
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except Exception as error:
            raise Refused(_unloadable(error)) from None
    found = _state_dict(loaded)
    for name, tensor in found.items():
        if not torch.is_tensor(tensor):
            raise Refused(f"expected a dict of tensors (a state dict), got {type(tensor).__name__} as {shown(name)}")
    return {str(name): _tensor(str(name), tensor) for name, tensor in found.items()}


def _unloadable(error: Exception) -> str:
    # PyTorch's own message tells how to load such a file all the same, which may be what the file was made for
    if "weights_only" not in str(error):
        return unreadable(error)
    named = FORBIDDEN.search(str(error))
    told = f": {shown(named[0])}" if named else ""
    return f"it is no dict of tensors (a state dict), and nothing of it was run{told}"


def _state_dict(loaded: Any) -> Mapping[object, Any]:
    """What was saved as tensors by name: a state dict, a checkpoint with one, a list of tensors, or a lone one."""
    if isinstance(loaded, Mapping):
        for name in CHECKPOINTS:
            if isinstance(loaded.get(name), Mapping):
                return cast("Mapping[object, Any]", loaded[name])
        return cast("Mapping[object, Any]", loaded)
    return dict(enumerate(cast("list[Any]", loaded))) if isinstance(loaded, list | tuple) else {LONE: loaded}


def _tensor(name: str, tensor: Any) -> Stored:
    import torch

    dtype, shape = str(tensor.dtype).removeprefix("torch."), tuple(map(int, tensor.shape))
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise Refused(f"array {shown(name)} must be a dense tensor, got {tensor.layout}")
    if dtype not in FLOATS and not hasattr(np, dtype):
        raise Refused(f"array {shown(name)} must hold numbers, got {dtype}")
    # strides of 0 make a tensor of any size from a few bytes
    _check_size(min(tensor.untyped_storage().nbytes(), tensor.nbytes), tensor.nbytes)

    def read() -> Array:
        plain = tensor.detach()
        return (plain.float() if dtype == "bfloat16" else plain).numpy()

    return Stored(dtype, shape, read)


def _checked(name: str, dtype: np.dtype[Any]) -> str:
    """The dtype's name; raises `Refused` for what no array of numbers has."""
    if dtype.hasobject:
        raise Refused(f"array {shown(name)} holds Python objects, and nothing of it was run; expected numbers")
    if dtype.kind not in "fiub":
        raise Refused(f"array {shown(name)} must hold numbers, got {dtype}")
    return dtype.name


READERS: Mapping[str, Callable[[Path], Mapping[str, Stored]]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".safetensors": _safetensors,
    ".pt": _pytorch,
    ".pth": _pytorch,
}
