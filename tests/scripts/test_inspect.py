"""Saved updates of every kind, inspected by the program as an operator would."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hawthorn.strategies import Defense
from hawthorn.strategies.contract import SCORES, Score
from program import Ended
from saved_updates import (
    CLIENTS,
    HOSTILE,
    KINDS,
    added,
    honest,
    matrix,
    rejected,
    round_of_updates,
    row,
    save_npz,
    save_pytorch,
    saved,
    tensors,
    told,
)


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
    models = {name: added(arrays, sent) for name, arrays in round_of_updates().items()}
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


def test_a_trusted_update_is_read_like_the_others(
    inspected: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def distrust(geometry: Any, f: int, history: Any, *, trusted: Any = None) -> np.ndarray:
        return np.zeros(geometry.n) if trusted is None else np.sqrt(trusted.squared_distances[:-1, -1])

    monkeypatch.setattr(SCORES, "_parts", dict(SCORES._parts))
    SCORES.add("distrust", Score(distrust, spread=1.0))
    defense = ("--defense", "median; scores=distrust")
    own, sent = honest(98), honest(99)
    expected = np.linalg.norm(matrix() - row(own), axis=1)

    def found(*arguments: object) -> list[float]:
        return [client["scores"]["distrust"] for client in inspected(*arguments, *defense)["clients"]]

    save_npz(tmp_path / "own.npz", dict(reversed(own.items())))
    folder = saved(tmp_path / "round", round_of_updates())
    np.testing.assert_allclose(found(folder, "--trusted", tmp_path / "own.npz"), expected, rtol=1e-6)
    np.save(tmp_path / "rows.npy", matrix())
    np.save(tmp_path / "own.npy", row(own))
    np.testing.assert_allclose(found(tmp_path / "rows.npy", "--trusted", tmp_path / "own.npy"), expected, rtol=1e-6)
    # and beside whole models it is a whole model
    models = {name: added(arrays, sent) for name, arrays in round_of_updates().items()}
    save_npz(tmp_path / "sent.npz", sent)
    save_npz(tmp_path / "model.npz", added(own, sent))
    arguments = ("--model", tmp_path / "sent.npz", "--trusted", tmp_path / "model.npz")
    np.testing.assert_allclose(found(saved(tmp_path / "models", models), *arguments), expected, rtol=1e-5)
    np.save(tmp_path / "rows.npy", np.stack([row(arrays) for arrays in models.values()]))
    np.testing.assert_allclose(found(tmp_path / "rows.npy", *arguments), expected, rtol=1e-5)


def test_rows_beyond_the_memory_given_lie_in_a_file_and_say_the_same(
    inspected: Callable[..., dict[str, Any]], tmp_path: Path
):
    folder = saved(tmp_path / "round", round_of_updates())
    (tmp_path / "spool").mkdir()
    assert told(inspected(folder, "--memory", "1 kB", "--spool", tmp_path / "spool")) == told(inspected(folder))


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
        models = {name: added(arrays, sent) for name, arrays in round_of_updates().items()}
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
