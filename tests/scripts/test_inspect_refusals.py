"""Files that are broken, hostile, or unlike the others: refused with a reason, and nothing in them is run."""

import io
import json
import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from program import Ended
from saved_updates import HOSTILE, Arrays, honest, rejected, round_of_updates, saved, tensors, told


class Armed:
    """What is unpickled by whoever trusts it, and leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def evil_pickles(folder: Path, mark: Path) -> list[Path]:
    folder.mkdir()
    armed = Armed(mark)
    torch.save({"layer.weight": torch.ones(2), "x": armed}, folder / "evil-zip.pt")
    torch.save(armed, folder / "evil-old.pth", _use_new_zipfile_serialization=False)
    (folder / "evil-raw.pt").write_bytes(pickle.dumps(armed))
    np.savez(folder / "evil-archive.npz", x=np.array([armed], dtype=object))
    np.save(folder / "evil-array.npy", np.array([armed], dtype=object), allow_pickle=True)
    (folder / "evil-plain.npy").write_bytes(pickle.dumps(armed))
    (folder / "evil-named.npz").write_bytes(pickle.dumps(armed))
    return sorted(folder.iterdir())


def test_no_code_in_a_file_is_run(
    inspected: Callable[..., dict[str, Any]], hawthorn: Callable[..., Ended], tmp_path: Path
):
    mark = tmp_path / "mark"
    files = evil_pickles(tmp_path / "evil", mark)
    for file in files:  # each of them does run where it is trusted
        if file.suffix in {".pt", ".pth"} and "raw" not in file.name:
            torch.load(file, weights_only=False)
        elif "archive" in file.name:
            np.load(file, allow_pickle=True)["x"]
        else:
            np.load(file, allow_pickle=True)
        assert mark.exists(), file
        mark.unlink()
    updates = saved(tmp_path / "round", round_of_updates())
    expected = told(inspected(updates))
    for file in files:
        (updates / file.name).write_bytes(file.read_bytes())
    found = inspected(updates)
    assert not mark.exists()
    assert sorted(one["name"] for one in found["refused"]) == sorted(file.stem for file in files)
    assert told(found) == expected
    for file in files:
        for arguments in ((file,), (updates, "--model", file), (updates, "--trusted", file)):
            assert hawthorn("inspect", *map(str, arguments)).status == 2
    assert not mark.exists()


def changed(**arrays: Any) -> dict[str, Any]:
    return honest(50) | {name.replace("_", "."): value for name, value in arrays.items()}


def npz(arrays: Arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def pt(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def state(**arrays: Any) -> dict[str, Any]:
    return tensors(honest(50)) | {name.replace("_", "."): value for name, value in arrays.items()}


def raw_safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(head) if length is None else length).to_bytes(8, "little") + head + data


def entry(shape: list[Any], offsets: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def flipped() -> bytes:
    """An archive with one bit of its numbers turned, which only its checksum tells."""
    data = bytearray(npz(honest(50)))
    data[data.index(honest(50)["layer.weight"].tobytes()) + 5] ^= 1
    return bytes(data)


def lying_npz() -> bytes:
    """An archive whose array claims to be four terabytes."""
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("layer.weight.npy", member.getvalue() + bytes(8))
    return file.getvalue()


def traced() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # there are such files all the same
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return file.getvalue()


# name of the file, its content, and what is told of it
BROKEN: list[tuple[str, Callable[[], bytes], str]] = [
    ("x.npz", lambda: npz(changed(layer_bias=np.ones(8, np.float32))), "'layer.bias' must have shape (7,), got (8,)"),
    ("x.npz", lambda: npz(changed(layer_bias=np.ones((7, 1), np.float32))), "must have shape (7,), got (7, 1)"),
    ("x.npz", lambda: npz(changed(more=np.ones(3))), "it has unexpected 'more'"),
    ("x.npz", lambda: npz({"layer.bias": np.ones(7, np.float32)}), "it lacks 'layer.weight', 'steps'"),
    ("x.npz", lambda: npz(changed(steps=np.array(1, np.int8))), "'steps' must hold int64, got int8"),
    ("x.npz", lambda: npz(changed(layer_bias=np.ones(7, np.int64))), "must hold floating-point numbers, got int64"),
    ("x.npz", lambda: npz(changed(layer_bias=np.full(7, np.nan))), "the numbers must be finite, got NaN or infinity"),
    ("x.npz", lambda: npz(changed(layer_bias=np.full(7, -np.inf))), "the numbers must be finite, got NaN or infinity"),
    ("x.npz", lambda: npz(changed(layer_bias=np.full(7, 1e300))), "the numbers must fit float32"),
    ("x.npz", lambda: npz(changed(layer_bias=np.array(["a"] * 7))), "must hold numbers, got <U1"),
    ("x.npz", lambda: npz(changed(layer_bias=np.ones(7, np.complex64))), "must hold numbers, got complex64"),
    ("x.npz", lambda: npz({"steps": np.arange(3)}), "it holds no floating-point numbers"),
    ("x.npz", lambda: npz({}), "it holds no arrays"),
    ("x.npz", lambda: npz(honest(50))[:-200], "BadZipFile"),
    ("x.npz", flipped, "Bad CRC-32"),
    ("x.npz", lying_npz, "expected 4000000000000 bytes after the header, got 8"),
    ("x.npz", lambda: b"", "BadZipFile"),
    ("x.npy", lambda: b"\x93NUMPY", "no readable npy header"),
    ("x.npy", lambda: b"not at all", "no readable npy header"),
    ("x.txt", lambda: b"notes", "expected a file .npz, .npy, .safetensors, .pt, .pth, got '.txt'"),
    ("x.safetensors", lambda: b"abc", "no safetensors header"),
    ("x.safetensors", lambda: raw_safetensors(b"{}", length=10**15), "no safetensors header"),
    ("x.safetensors", lambda: raw_safetensors(b"{nonsense"), "no readable safetensors header"),
    ("x.safetensors", lambda: raw_safetensors(b"[" * 100_000), "no readable safetensors header"),
    ("x.safetensors", lambda: raw_safetensors([1]), "expected arrays by name"),
    ("x.safetensors", lambda: raw_safetensors({"a": 1}), "must have dtype, shape and data_offsets"),
    ("x.safetensors", lambda: raw_safetensors({"a": entry([2], [0, 8], "F8_E4M3")}, bytes(8)), "must hold numbers"),
    ("x.safetensors", lambda: raw_safetensors({"a": entry([2], [0, 9])}, bytes(9)), "cannot lie at the bytes [0, 9]"),
    ("x.safetensors", lambda: raw_safetensors({"a": entry([-2], [0, -8])}, bytes(8)), "cannot lie at the bytes"),
    ("x.safetensors", lambda: raw_safetensors({"a": entry([2.0], [0, 8])}, bytes(8)), "cannot lie at the bytes"),
    ("x.safetensors", lambda: raw_safetensors({"a": entry([10**12], [0, 4 * 10**12])}, bytes(8)), "bytes, got"),
    (
        "x.safetensors",
        lambda: raw_safetensors({"a": entry([2], [0, 8]), "b": entry([2], [4, 12])}, bytes(12)),
        "one begins at byte 4 instead of 8",
    ),
    ("x.safetensors", lambda: raw_safetensors({"a": entry([2], [0, 8])}, bytes(12)), "bytes, got"),
    ("x.safetensors", lambda: raw_safetensors(b'{"a":{},"a":{}}'), "a name is written twice"),
    ("x.pt", lambda: pt(torch.nn.Linear(2, 2)), "no dict of tensors (a state dict), and nothing of it was run"),
    ("x.pt", traced, "no dict of tensors"),
    ("x.pt", lambda: pt(state())[:-300], "it cannot be read"),
    ("x.pt", lambda: pt(state(), _use_new_zipfile_serialization=False)[:-30], "it cannot be read"),
    ("x.pt", lambda: b"", "it cannot be read"),
    ("x.pt", lambda: pt({"epoch": 3}), "expected a dict of tensors (a state dict), got int as 'epoch'"),
    ("x.pt", lambda: pt("text"), "expected a dict of tensors"),
    ("x.pt", lambda: pt(state(layer_bias=torch.ones(7).to_sparse())), "must be a dense tensor"),
    ("x.pt", lambda: pt(state(layer_bias=torch.ones(7, device="meta"))), "must be a dense tensor"),
    ("x.pt", lambda: pt(state(layer_bias=torch.ones(7, dtype=torch.float8_e4m3fn))), "got float8_e4m3fn"),
    ("x.pt", lambda: pt(state(layer_bias=torch.ones(1).expand(10**13))), "expected 40000000000000 bytes"),
    ("x.pt", lambda: pt(state(layer_bias=torch.full((7,), math.nan))), "the numbers must be finite"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BROKEN, ids=[f"{n}: {r}" for n, _, r in BROKEN])
def test_a_file_that_cannot_be_used_is_refused_and_nothing_else_changes(
    inspected: Callable[..., dict[str, Any]], tmp_path: Path, name: str, content: Callable[[], bytes], reason: str
):
    folder = saved(tmp_path / "round", round_of_updates())
    expected = told(inspected(folder))
    (folder / name).write_bytes(content())
    found = inspected(folder)
    assert [one["name"] for one in found["refused"]] == ["x"]
    assert reason in found["refused"][0]["reason"]
    assert told(found) == expected


def test_an_array_may_be_called_anything(inspected: Callable[..., dict[str, Any]], tmp_path: Path):
    renamed = {
        name: {"file": arrays["layer.weight"], "allow_pickle": arrays["layer.bias"], "\x1b[31m": np.array(1)}
        for name, arrays in round_of_updates().items()
    }
    for name, arrays in renamed.items():
        safetensors.numpy.save_file(arrays, tmp_path / f"{name}.safetensors")
    found = inspected(tmp_path, "--save", tmp_path / "update.npz")
    assert rejected(found) == [f"client-{k}" for k in HOSTILE]
    with np.load(tmp_path / "update.npz") as kept:
        assert {name: kept[name].shape for name in kept} == {"file": (7, 9), "allow_pickle": (7,)}


def test_a_pipe_or_a_folder_of_that_name_is_refused(inspected: Callable[..., dict[str, Any]], tmp_path: Path):
    folder = saved(tmp_path / "round", round_of_updates())
    os.mkfifo(folder / "pipe.npz")
    (folder / "gone.pt").symlink_to(tmp_path / "nowhere")
    found = inspected(folder)
    assert {one["name"]: one["reason"] for one in found["refused"]} == dict.fromkeys(
        ("gone", "pipe"), "expected a file, got something else of that name"
    )


def test_an_attacker_whose_file_comes_first_has_no_say_in_the_layout(
    inspected: Callable[..., dict[str, Any]], tmp_path: Path
):
    folder = saved(tmp_path / "round", round_of_updates())
    expected = told(inspected(folder))
    for name in ("a", "aa", "aaa"):
        np.savez(folder / f"{name}.npz", w=np.ones(3))
    found = inspected(folder)
    assert [one["name"] for one in found["refused"]] == ["a", "aa", "aaa"]
    assert told(found) == expected
