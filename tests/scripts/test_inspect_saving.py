"""What an inspection writes: the update, or the model after it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hawthorn.strategies import Defense
from program import Ended
from saved_updates import honest, matrix, round_of_updates, row, save_npz, saved


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
