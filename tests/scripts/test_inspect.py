"""Saved updates of every kind, whole and broken, inspected by the program as an operator would."""

import io
import json
import math
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hawthorn.strategies import Defense
from program import Ended

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


@pytest.fixture
def inspected(hawthorn: Callable[..., Ended]) -> Callable[..., dict[str, Any]]:
    """What the program finds, as JSON."""

    def run(*arguments: object, status: int = 0) -> dict[str, Any]:
        ended = hawthorn("inspect", *map(str, arguments), "--json", "-")
        assert ended.status == status, ended.err
        return ended.document

    return run


def rejected(document: dict[str, Any]) -> list[str]:
    return [client["name"] for client in document["clients"] if not client["accepted"]]


def told(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    """All that is said of clients and their geometry."""
    clients = [tuple(str(value) for value in client.values()) for client in document["clients"]]
    return [*clients, json.dumps(document["geometry"]), document["update"]]


# what is read


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_every_kind_are_what_the_defense_says_of_their_rows(
    inspected: Callable[..., dict[str, Any]], tmp_path: Path, kind: str
):
    found = inspected(saved(tmp_path / "round", round_of_updates(), kind))
    names = [f"client-{k}" for k in range(CLIENTS)]
    # that library puts arrays into an order of its own, and sums are made in the file's order
    outcome = Defense()(matrix("layer.bias", "layer.weight") if kind == "safetensors" else matrix(), clients=names)
    assert [client["name"] for client in found["clients"]] == names
    for client, verdict in zip(found["clients"], outcome.verdicts, strict=True):
        assert client["accepted"] == verdict.accepted
        assert client["reason"] == verdict.reason
        assert client["scores"] == verdict.scores
        assert (client["weight"], client["p_value"]) == (verdict.weight, verdict.p_value)
    assert rejected(found) == [f"client-{k}" for k in HOSTILE]
    assert found["refused"] == []
    assert found["skipped"] is None
    assert found["geometry"]["squared_distances"] == outcome.geometry.squared_distances.tolist()
    assert found["geometry"]["cosines"] == outcome.geometry.cosines.tolist()
    assert found["update"]["length"] == pytest.approx(np.linalg.norm(outcome.update.astype(np.float64)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_other_floats_are_read_as_their_numbers(
    inspected: Callable[..., dict[str, Any]], tmp_path: Path, suffix: str, dtype: torch.dtype
):
    rows = []
    for name, arrays in round_of_updates().items():
        state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors(arrays).items()}
        rows.append(torch.cat([state["layer.weight"].flatten(), state["layer.bias"]]).double().numpy())
        save = torch.save if suffix == ".pt" else safetensors.torch.save_file
        save(state, tmp_path / f"{name}{suffix}")
    found = inspected(tmp_path)
    lengths = [client["length"] for client in found["clients"]]
    np.testing.assert_allclose(lengths, np.linalg.norm(np.stack(rows), axis=1), rtol=1e-6)


def test_kinds_may_be_mixed_and_their_arrays_in_any_order(inspected: Callable[..., dict[str, Any]], tmp_path: Path):
    mixed = tmp_path / "mixed"
    for place, (name, arrays) in enumerate(round_of_updates().items()):
        kind = ("npz", "safetensors", "pt")[place % 3]
        saved(mixed, {name: dict(reversed(arrays.items())) if place else arrays}, kind)
    found = inspected(mixed)
    assert rejected(found) == [f"client-{k}" for k in HOSTILE]
    np.testing.assert_allclose(
        found["geometry"]["squared_distances"],
        np.square(matrix()[:, None] - matrix(), dtype=np.float64).sum(axis=2),
        rtol=1e-6,
    )
    assert told(inspected(*sorted(mixed.iterdir()))) == told(found)


def test_whole_models_are_compared_with_the_one_that_was_sent(inspected: Callable[..., dict[str, Any]], tmp_path: Path):
    sent = {name: (10 * v).astype(v.dtype) for name, v in honest(99).items()}
    models = {
        name: {key: value + sent[key] if value.dtype == np.float32 else value for key, value in arrays.items()}
        for name, arrays in round_of_updates().items()
    }
    save_pytorch(tmp_path / "sent.pt", sent)
    found = inspected(saved(tmp_path / "models", models), "--model", tmp_path / "sent.pt")
    updates = np.stack([row(arrays) - row(sent) for arrays in models.values()])
    assert rejected(found) == [f"client-{k}" for k in HOSTILE]
    np.testing.assert_allclose([c["length"] for c in found["clients"]], np.linalg.norm(updates, axis=1), rtol=1e-6)
    # the same as rows of one file, which know of the model's numbers only
    np.save(tmp_path / "rows.npy", np.stack([row(arrays) for arrays in models.values()]))
    rows = inspected(tmp_path / "rows.npy", "--model", tmp_path / "sent.pt")
    assert [c["length"] for c in rows["clients"]] == [c["length"] for c in found["clients"]]


def test_one_file_may_hold_all_clients(inspected: Callable[..., dict[str, Any]], tmp_path: Path):
    rows = matrix()
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "columns.npy", np.asfortranarray(rows))
    np.savez(tmp_path / "rows.npz", updates=rows, labels=np.arange(CLIENTS))
    np.savez(tmp_path / "each.npz", **{str(k): one for k, one in enumerate(rows)})
    safetensors.numpy.save_file({"rows": rows}, tmp_path / "rows.safetensors")
    torch.save(torch.from_numpy(rows), tmp_path / "rows.pt")
    torch.save([torch.from_numpy(one) for one in rows], tmp_path / "list.pt")
    expected = told(inspected(tmp_path / "rows.npy"))
    assert rejected(inspected(tmp_path / "rows.npy")) == [str(k) for k in HOSTILE]
    for name in ("columns.npy", "rows.npz", "each.npz", "rows.safetensors", "rows.pt", "list.pt"):
        assert told(inspected(tmp_path / name)) == expected, name


def test_a_row_that_is_not_finite_is_refused_and_the_others_are_not(
    inspected: Callable[..., dict[str, Any]], tmp_path: Path
):
    rows = matrix()
    rows[4, 3] = np.nan
    np.save(tmp_path / "rows.npy", rows)
    found = inspected(tmp_path / "rows.npy")
    assert found["refused"] == [
        {"name": "4", "reason": "array 'update': the numbers must be finite, got NaN or infinity"}
    ]
    assert rejected(found) == [str(k) for k in HOSTILE]


def test_rows_beyond_the_memory_given_lie_in_a_file_and_say_the_same(
    inspected: Callable[..., dict[str, Any]], tmp_path: Path
):
    folder = saved(tmp_path / "round", round_of_updates())
    (tmp_path / "spool").mkdir()
    assert told(inspected(folder, "--memory", "1 kB", "--spool", tmp_path / "spool")) == told(inspected(folder))


# what is refused


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
    import os

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


# rounds and names


def test_rounds_are_taken_in_natural_order_and_clients_remembered(
    inspected: Callable[..., dict[str, Any]], tmp_path: Path
):
    def updates(r: int) -> dict[str, dict[str, np.ndarray]]:
        # one that is somewhat off in every round: only the rounds together tell
        found = {f"c{k}": honest(100 * r + k) for k in range(12)}
        found["c3"] = {n: -0.5 * v if v.dtype == np.float32 else v for n, v in found["c3"].items()}
        return {name: arrays for name, arrays in found.items() if (r, name) not in {(10, "c5"), (2, "c4")}}

    run = tmp_path / "run"
    for r in (1, 2, 10):
        saved(run / f"round-{r}", updates(r))
    (run / "round-2" / "c4.npz").write_bytes(b"broken")
    found = inspected(run)
    assert found["rounds"] == ["round-1", "round-2", "round-10"]

    state, counts = None, {}
    for r in (1, 2, 10):
        names = sorted(updates(r), key=lambda name: int(name[1:]))
        outcome = Defense()(np.stack([row(updates(r)[name]) for name in names]), clients=names, state=state)
        state = outcome.state
        for name, verdict in zip(names, outcome.verdicts, strict=True):
            counts[name] = counts.get(name, 0) + (not verdict.accepted)
    assert [c["p_value"] for c in found["clients"]] == [verdict.p_value for verdict in outcome.verdicts]
    assert {name: past["rejected"] for name, past in found["past"].items()} == counts
    assert counts["c3"] >= 1
    assert found["past"]["c4"] == {"seen": 3, "rejected": counts["c4"], "refused": 1}
    assert found["past"]["c5"] == {"seen": 2, "rejected": counts["c5"], "refused": 0}
    # folders in any order are the same rounds
    again = inspected(run / "round-10", run / "round-1", run / "round-2")
    assert told(again) == told(found)


def test_rounds_in_one_file(inspected: Callable[..., dict[str, Any]], tmp_path: Path):
    rounds = np.stack([matrix(), matrix() + 1])
    np.savez(tmp_path / "rounds.npz", updates=rounds)
    found = inspected(tmp_path / "rounds.npz")
    assert found["rounds"] == ["round 1", "round 2"]
    assert [past["seen"] for past in found["past"].values()] == [2] * CLIENTS


def test_each_round_has_its_model(
    inspected: Callable[..., dict[str, Any]], hawthorn: Callable[..., Ended], tmp_path: Path
):
    for r in (1, 2):
        sent = {n: (r * 100 * v).astype(v.dtype) for n, v in honest(99).items()}
        saved(tmp_path / "models", {f"m{r}": sent})
        models = {
            name: {n: v + sent[n] if v.dtype == np.float32 else v for n, v in arrays.items()}
            for name, arrays in round_of_updates().items()
        }
        saved(tmp_path / "run" / f"r{r}", models)
    found = inspected(tmp_path / "run", "--model", tmp_path / "models")
    lengths = np.linalg.norm(matrix(), axis=1)
    np.testing.assert_allclose([c["length"] for c in found["clients"]], lengths, rtol=1e-3)
    ended = hawthorn("inspect", str(tmp_path / "run"), "--model", str(tmp_path / "models/m1.npz"))
    assert ended.status == 2
    assert "a folder of 2 models, one for each round" in ended.err


def test_clients_whose_files_share_a_stem_are_told_apart(inspected: Callable[..., dict[str, Any]], tmp_path: Path):
    updates = round_of_updates()
    for name, arrays in updates.items():
        saved(tmp_path / name, {"update": arrays})
    files = [tmp_path / name / "update.npz" for name in updates]
    found = inspected(*files)
    assert [client["name"] for client in found["clients"]] == [str(file) for file in files]
    save_npz(tmp_path / "client-0" / "other.npz", updates["client-0"])
    save_pytorch(tmp_path / "client-0" / "other.pt", updates["client-1"])
    found = inspected(tmp_path / "client-0", "--tolerated", "0")
    assert [client["name"] for client in found["clients"]] == ["other.npz", "other.pt", "update"]


# what the program answers


def test_the_table_names_everybody_and_says_why(hawthorn: Callable[..., Ended], tmp_path: Path):
    folder = saved(tmp_path / "round", round_of_updates())
    (folder / "x\x1b[31m[red].npz").write_bytes(b"")
    ended = hawthorn("inspect", str(folder), "--tolerated", "3")
    assert ended.status == 0
    document = hawthorn("inspect", str(folder), "--tolerated", "3", "--json", "-").document
    for client in document["clients"]:
        (line,) = [line for line in ended.out.splitlines() if line.split()[:1] == [client["name"]] and "ed " in line]
        assert ("accepted" in line) == client["accepted"]
        assert f"{client['p_value']:.3g}" in line
        assert f"{client['length']:.3g}" in line
        if client["reason"]:
            assert f"{client['name']}: {client['reason']}" in ended.out
    assert (
        "2 of 10 clients rejected, at most 3 expected to be hostile; 1 file refused; the update has length" in ended.out
    )
    assert "\x1b" not in ended.out
    assert "x\\x1b[31m[red]" in ended.out


def test_no_update_is_no_success(hawthorn: Callable[..., Ended], tmp_path: Path):
    few = dict(list(round_of_updates().items())[:4])
    ended = hawthorn("inspect", str(saved(tmp_path / "few", few)), "--defense", "krum; f=1", "--json", "-")
    assert ended.status == 1
    assert "krum tolerates at most 0 hostile clients" in ended.document["skipped"]
    assert ended.document["update"] is None
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x.npz").write_bytes(b"")
    ended = hawthorn("inspect", str(tmp_path / "none"), "--html", "page.html", "--json", "-")
    assert ended.status == 1
    assert ended.document["clients"] == []
    assert ended.document["geometry"] is None
    assert ended.document["skipped"] == "no file could be used"
    assert Path("page.html").exists()


def prepared(folder: Path) -> None:
    saved(folder / "round", round_of_updates())
    saved(folder / "two", {"a": honest(1)})
    np.savez(folder / "two" / "b.npz", w=np.ones(2))
    for name in ("c0", "c1"):
        saved(folder / "apart" / name, {"update": honest(1)})
    saved(folder / "both" / "r1", round_of_updates())
    saved(folder / "both", {"a": honest(1)})
    (folder / "empty").mkdir()
    np.save(folder / "vector.npy", np.ones(5, np.float32))
    np.savez(folder / "model.npz", **honest(7))
    np.savez(folder / "bad.npz", **{n: v * np.nan if v.dtype == np.float32 else v for n, v in honest(7).items()})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nowhere",), "there is no file or folder 'nowhere'"),
        (("round", "vector.npy"), "not both"),
        (("empty",), "'empty' holds no files"),
        (("apart",), "write the files: FOLDER/*/FILE"),
        (("both",), "files beside them: 'a.npz'"),
        (("two",), "write --model FILE"),
        (("vector.npy",), "for files of a client each, write their folder"),
        (("model.npz",), "for files of a client each, write their folder"),
        (("round/client-0.npz", "round/client-0.npz"), "a file is named twice"),
        (("round", "--defense", "krun"), "did you mean 'krum'?"),
        (("round", "--tolerated", "most"), "--tolerated must be a count such as 3"),
        (("round", "--model", "nowhere.npz"), "--model must be a file, got 'nowhere.npz'"),
        (("round", "--model", "bad.npz"), "--model 'bad.npz': array 'layer.weight': the numbers must be finite"),
        (("round", "--model", "apart/c0/update.npz", "--trusted", "model.npz"), "uses a trusted update"),
        (("round", "--trusted", "nowhere.npz"), "--trusted must be a file"),
        (("round", "both/r1", "--trusted", "model.npz"), "--trusted is an update of one round"),
        (("round", "--memory", "plenty"), "memory must be a size such as '1 GB'"),
        (("round", "--save", "update.txt"), "--save must be a file .npz"),
        (("round", "--save", "update.npy"), "an .npy file holds one array, and there are 2: write .npz"),
        (("round", "--html", "nowhere/page.html"), "folder that exists"),
        (("round", "--json", "nowhere/found.json"), "folder that exists"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_the_operator_can_mend_is_told_in_one_line(
    hawthorn: Callable[..., Ended], tmp_path: Path, arguments: tuple[str, ...], expected: str
):
    prepared(tmp_path)
    ended = hawthorn("inspect", *arguments)
    assert ended.status == 2
    assert ended.err.splitlines()[-1].startswith("hawthorn: ")
    assert expected in ended.err.splitlines()[-1]


def test_without_torch_numpy_files_are_read_and_others_say_what_to_install(tmp_path: Path):
    saved(tmp_path / "numpy", round_of_updates(), "safetensors")
    saved(tmp_path / "torch", round_of_updates(), "pt")
    script = "import sys; sys.modules['torch'] = None; from hawthorn.scripts.main import main; main()"
    for name, status in (("numpy", 0), ("torch", 2)):
        command = [sys.executable, "-c", script, "inspect", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
    assert done.stderr == "hawthorn: to read 'client-0.pt' torch is needed: install hawthorn[torch]\n"


def test_the_standard_library_keeps_its_own_module_of_that_name():
    script = (
        "import hawthorn.scripts.inspect as ours, inspect; print(inspect.signature(ours.inspect).parameters['paths'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("paths:")


# what is saved


def loaded(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return dict(arrays)
    if path.suffix == ".safetensors":
        return safetensors.numpy.load_file(path)
    return {name: one.numpy() for name, one in torch.load(path, weights_only=True).items()}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_the_update_is_saved_in_every_kind(hawthorn: Callable[..., Ended], tmp_path: Path, suffix: str):
    folder, target = saved(tmp_path / "round", round_of_updates()), tmp_path / f"update{suffix}"
    assert hawthorn("inspect", str(folder), "--save", str(target)).status == 0
    kept = loaded(target)
    assert {name: (one.shape, one.dtype) for name, one in kept.items()} == {
        "layer.weight": ((7, 9), np.float32),
        "layer.bias": ((7,), np.float32),
    }
    np.testing.assert_array_equal(row(kept), Defense()(matrix()).update)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_with_a_model_what_is_saved_is_the_model_after_the_update(
    hawthorn: Callable[..., Ended], tmp_path: Path, suffix: str
):
    sent = honest(99)
    save_npz(tmp_path / "sent.npz", sent)
    folder, target = saved(tmp_path / "round", round_of_updates()), tmp_path / f"model{suffix}"
    ended = hawthorn("inspect", str(folder), "--model", str(tmp_path / "sent.npz"), "--save", str(target))
    assert ended.status == 0
    kept = loaded(target)
    assert list(kept) == list(sent) or suffix == ".safetensors"
    assert kept["steps"] == sent["steps"]
    assert kept["steps"].dtype == sent["steps"].dtype
    np.testing.assert_allclose(row(kept), row(sent) + Defense()(matrix() - row(sent)).update, rtol=1e-6)
    # which is a model like the others: it can be inspected again
    assert hawthorn("inspect", str(folder), "--model", str(target)).status == 0


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz"])
def test_bfloat16_is_saved_as_such_where_a_file_can_hold_it(
    hawthorn: Callable[..., Ended], tmp_path: Path, suffix: str
):
    rows = torch.from_numpy(matrix()).bfloat16()
    (tmp_path / "round").mkdir()
    for k, one in enumerate(rows):
        torch.save({"w": one}, tmp_path / "round" / f"{k}.pt")
    target = tmp_path / f"update{suffix}"
    assert hawthorn("inspect", str(tmp_path / "round"), "--save", str(target)).status == 0
    update = torch.from_numpy(Defense()(rows.float().numpy()).update)
    if suffix == ".npz":
        np.testing.assert_array_equal(loaded(target)["w"], update.numpy())
        return
    kept = torch.load(target) if suffix == ".pt" else safetensors.torch.load_file(target)
    assert torch.equal(kept["w"], update.bfloat16())


def test_a_model_that_its_dtype_cannot_hold_is_not_saved(hawthorn: Callable[..., Ended], tmp_path: Path):
    (tmp_path / "round").mkdir()
    for k in range(5):
        np.savez(tmp_path / "round" / f"{k}.npz", w=np.full(3, 60000, np.float32))
    np.savez(tmp_path / "sent.npz", w=np.full(3, -60000, np.float16))
    arguments = ("inspect", str(tmp_path / "round"), "--model", str(tmp_path / "sent.npz"))
    assert hawthorn(*arguments, "--save", str(tmp_path / "model.npz")).status == 0
    for k in range(5):
        np.savez(tmp_path / "round" / f"{k}.npz", w=np.full(3, 70000, np.float32))
    ended = hawthorn(*arguments, "--save", str(tmp_path / "again.npz"))
    assert ended.status == 2
    assert "array 'w' holds numbers that float16 cannot hold" in ended.err
    assert not (tmp_path / "again.npz").exists()
