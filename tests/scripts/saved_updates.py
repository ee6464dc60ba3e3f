"""A round of saved updates in every kind of file, two of them hostile, and what an inspection says of it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch

Arrays = Mapping[str, Any]
Save = Callable[[Path, Arrays], None]

HOSTILE = (2, 5)
CLIENTS = 10


def honest(seed: int) -> dict[str, np.ndarray]:
    """A client's update: two arrays that belong into a row, and a counter that does not."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(1000)
    return {
        "layer.weight": (common.normal(size=(7, 9)) + rng.normal(size=(7, 9))).astype(np.float32),
        "layer.bias": (common.normal(size=7) + rng.normal(size=7)).astype(np.float32),
        "steps": np.array(100 + seed),
    }


def round_of_updates() -> dict[str, dict[str, np.ndarray]]:
    found = {f"client-{k}": honest(k) for k in range(CLIENTS)}
    for k in HOSTILE:
        one = found[f"client-{k}"]
        found[f"client-{k}"] = {name: -8 * v if v.dtype == np.float32 else v for name, v in one.items()}
    return found


def added(arrays: Arrays, sent: Arrays) -> dict[str, np.ndarray]:
    """The model after an update."""
    return {name: v + sent[name] if v.dtype == np.float32 else v for name, v in arrays.items()}


def row(arrays: Arrays, names: tuple[str, ...] = ("layer.weight", "layer.bias")) -> np.ndarray:
    return np.concatenate([np.asarray(arrays[name]).ravel() for name in names])


def matrix(*names: str) -> np.ndarray:
    return np.stack([row(arrays, *([names] if names else [])) for arrays in round_of_updates().values()])


def tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}


def save_npz(path: Path, arrays: Arrays) -> None:
    np.savez(path, **arrays)


def save_compressed(path: Path, arrays: Arrays) -> None:
    np.savez_compressed(path, **arrays)


def save_vector(path: Path, arrays: Arrays) -> None:
    np.save(path, row(arrays))


def save_fortran(path: Path, arrays: Arrays) -> None:
    np.savez(path, **{name: np.asfortranarray(array) for name, array in arrays.items()})


def save_safetensors(path: Path, arrays: Arrays) -> None:
    safetensors.numpy.save_file(dict(arrays), path, metadata={"round": "3"})


def save_pytorch(path: Path, arrays: Arrays) -> None:
    torch.save(tensors(arrays), path)


def save_old_pytorch(path: Path, arrays: Arrays) -> None:
    torch.save(tensors(arrays), path, _use_new_zipfile_serialization=False)


def save_checkpoint(path: Path, arrays: Arrays) -> None:
    torch.save({"epoch": 3, "model_state_dict": tensors(arrays), "optimizer": {"lr": 0.1}}, path)


KINDS: Mapping[str, tuple[str, Save]] = {
    "npz": (".npz", save_npz),
    "npz, compressed": (".npz", save_compressed),
    "npz, by columns": (".npz", save_fortran),
    "npy": (".npy", save_vector),
    "safetensors": (".safetensors", save_safetensors),
    "pt": (".pt", save_pytorch),
    "pth, old": (".pth", save_old_pytorch),
    "pt, checkpoint": (".pt", save_checkpoint),
}


def saved(folder: Path, updates: Mapping[str, Arrays], kind: str = "npz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    suffix, save = KINDS[kind]
    for name, arrays in updates.items():
        save(folder / f"{name}{suffix}", arrays)
    return folder


def rejected(document: dict[str, Any]) -> list[str]:
    return [client["name"] for client in document["clients"] if not client["accepted"]]


def told(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    """All that is said of clients and their geometry."""
    clients = [tuple(str(value) for value in client.values()) for client in document["clients"]]
    return [*clients, json.dumps(document["geometry"]), document["update"]]
