"""Checkpoints: the model, and all that goes on to the next round beside it, as safetensors files.

The model's file has the model's own names and can be read by anything that reads safetensors. The memory's file holds
a JSON document, as bytes under the name `memory`, and the arrays that it mentions by number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from flwr.app import ArrayRecord
from hawthorn.strategies import AuditError
from hawthorn.strategies.flower import Memory
from hawthorn.strategies.flower.arrays import serialized, viewed
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .files import contents, stored

ARRAY = "hawthorn's array"  # the key of what stands for an array in the document
DOCUMENT = "memory"

Tensors = dict[str, NDArray[Any]]


def save_model(folder: Path, arrays: ArrayRecord) -> str:
    """The digest of a model, which is on the disk when this returns; raises `AuditError`."""
    tensors = {name: np.require(viewed(array), requirements="C") for name, array in arrays.items()}
    # one key only: safetensors writes several in any order, and the digest must not depend on it
    return stored(folder, "model", save(tensors, {"order": json.dumps(list(arrays))}))


def load_model(folder: Path, digest: str) -> ArrayRecord:
    """The model of a digest, its arrays in the order they had; raises `AuditError`."""
    data = contents(folder, "model", digest)
    length = int.from_bytes(data[:8], "little")
    order = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["order"])
    tensors = _loaded(data)
    return ArrayRecord({name: serialized(np.array(tensors[name])) for name in order})


def save_memory(folder: Path, memory: Memory) -> str:
    """The digest of a memory, which is on the disk when this returns; raises `AuditError`."""
    tensors: Tensors = {}
    document = _without_arrays({one.name: getattr(memory, one.name) for one in fields(Memory)}, tensors)
    tensors[DOCUMENT] = np.frombuffer(json.dumps(document).encode(), np.uint8)
    return stored(folder, "memory", save(tensors))


def load_memory(folder: Path, digest: str) -> Memory:
    """The memory of a digest; raises `AuditError`."""
    tensors = _loaded(contents(folder, "memory", digest))
    document = json.loads(tensors.pop(DOCUMENT).tobytes())
    return Memory(**_with_arrays(document, tensors))


def _loaded(data: bytes) -> Tensors:
    try:
        return load(data)
    except SafetensorError as error:
        raise AuditError(f"not a safetensors file: {error}") from error


def _without_arrays(value: Any, tensors: Tensors) -> Any:
    """The data with a mention in the place of every array, which goes into `tensors`."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {_escaped(name): _without_arrays(item, tensors) for name, item in items}
    if isinstance(value, list | tuple):
        return [_without_arrays(item, tensors) for item in cast("list[Any]", value)]
    if isinstance(value, np.ndarray):
        name = str(len(tensors))
        tensors[name] = np.require(cast("NDArray[Any]", value), requirements="C")
        return {ARRAY: name}
    return cast("Any", value).item() if isinstance(value, np.generic) else value


def _with_arrays(value: Any, tensors: Tensors) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        if set(items) == {ARRAY} and isinstance(items[ARRAY], str):
            return np.array(tensors[items[ARRAY]])  # a copy of its own, which can be written to
        return {_unescaped(name): _with_arrays(item, tensors) for name, item in items.items()}
    if isinstance(value, list):
        return [_with_arrays(item, tensors) for item in cast("list[Any]", value)]
    return value


def _escaped(name: str) -> str:
    """A name that cannot be taken for the mention of an array: clients may be called anything.

    >>> _escaped("a client"), _escaped(ARRAY), _unescaped(_escaped(ARRAY))
    ('a client', "hawthorn's arrayhawthorn's array", "hawthorn's array")
    """
    return name + ARRAY if name and not name.replace(ARRAY, "") else name


def _unescaped(name: str) -> str:
    return name.removesuffix(ARRAY) if name != ARRAY and not name.replace(ARRAY, "") else name
