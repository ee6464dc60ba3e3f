"""The real app on nodes with keys: its manifests are believed by a server that knows these keys, and by no other."""

from types import SimpleNamespace

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg
from hawthorn.client.app import app
from hawthorn.client.assignment import Assignment
from hawthorn.client.tasks import Examples
from hawthorn.client.training import arrays_of
from hawthorn.client.vectors import vector
from hawthorn.client.vetting import dataset_digest
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.strategies import Defense, RobustStrategy

SITES = 5
RUN = {"partition": "iid", "local-epochs": 1, "clients": SITES}


class Sites(InProcessGrid):
    """The in-process grid, its nodes registered with keys that lie in files at the sites."""

    def __init__(self, folder, run_config=None, app=app, **node_config):
        super().__init__(app, SITES, {**RUN, **(run_config or {})})
        self.public = {}
        for node, context in self._contexts.items():
            key = ec.generate_private_key(ec.SECP384R1())
            file = folder / f"key-{node}"
            form = serialization.PrivateFormat.OpenSSH
            file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
            self.public[node] = key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            context.node_config |= {"manifest-key": str(file), "source": f"ward {node}", **node_config}

    def get_nodes(self):
        return [SimpleNamespace(node_id=node, name="", public_key=key) for node, key in self.public.items()]


def records(grid, digits, rounds=1, require=True):
    seen = []
    strategy = RobustStrategy(FedAvg(), Defense("median", f=0.2), observers=[seen.append], require_manifest=require)
    result = strategy.start(grid, arrays_of(digits.model(1)), num_rounds=rounds)
    return seen, result


def test_a_federation_that_requires_manifests_gets_them(tmp_path, digits):
    grid = Sites(tmp_path, {"require-manifest": True, "vetting": "drop"})
    seen, _ = records(grid, digits, rounds=2)
    for number, record in enumerate(seen, 1):
        assert not record.refused
        assert not record.skipped
        assert {told["verified"] for told in record.manifests.values()} == {True}
        told = record.manifests[103]
        assert told["round"] == number
        assert told["source"] == "ward 103"
        assert told["classes"] is None
        assert told["vetting"]["action"] == "drop"
        assert told["examples"] == told["vetting"]["examples"] - told["vetting"]["dropped"]
    datasets = {told["dataset"] for record in seen for told in record.manifests.values()}
    assert len(datasets) == SITES  # each site's own, the same in both rounds


def test_the_data_set_is_the_one_that_was_trained_on(tmp_path, digits):
    grid = Sites(tmp_path)
    (record,), _ = records(grid, digits)
    examples, _ = Assignment.of(grid._contexts[102]).examples
    assert record.manifests[102]["dataset"] == dataset_digest(examples)
    assert record.manifests[102]["examples"] == len(examples)
    assert record.manifests[102]["vetting"] is None
    shuffled = examples[np.random.default_rng(0).permutation(len(examples))]
    assert record.manifests[102]["dataset"] == dataset_digest(shuffled)
    other = Examples(examples.x, np.where(np.arange(len(examples)) == 3, 0, examples.y), 10)
    assert (other.y[3] != examples.y[3]) == (record.manifests[102]["dataset"] != dataset_digest(other))


@pytest.mark.parametrize(("run", "node", "told"), [(False, True, False), (True, True, True), (True, False, False)])
def test_class_counts_are_told_only_where_the_run_and_the_site_allow_it(tmp_path, digits, run, node, told):
    grid = Sites(tmp_path, {"manifest-classes": run}, **{"manifest-classes": node})
    (record,), _ = records(grid, digits)
    classes = record.manifests[101]["classes"]
    assert (classes is not None) == told
    if told:
        assert sum(classes) == record.manifests[101]["examples"]


def test_of_too_many_classes_the_counts_are_left_out_and_the_site_is_told(tmp_path, digits, monkeypatch, caplog):
    monkeypatch.setattr("hawthorn.client.manifest.MOST_CLASSES", 9)
    with caplog.at_level("WARNING", logger="hawthorn"):
        (record,), _ = records(Sites(tmp_path, {"manifest-classes": True}), digits)
    assert {told["verified"] for told in record.manifests.values()} == {True}
    assert record.manifests[101]["classes"] is None
    assert "without the examples of each class" in caplog.text


def test_a_source_that_no_audit_could_keep_is_refused_at_the_site(tmp_path, digits):
    (record,), _ = records(Sites(tmp_path, source="ward 7\0"), digits)
    assert all("source must be text" in reason for reason in record.refused.values())


def test_what_is_signed_is_what_leaves_after_momentum_clipping_and_noise(tmp_path, digits):
    grid = Sites(tmp_path, {"client-momentum": 0.5, "clip-norm": 0.1, "local-noise": 1.0})
    seen, _ = records(grid, digits, rounds=2)
    assert all(told["verified"] for record in seen for told in record.manifests.values())
    assert len({told["arrays"] for record in seen for told in record.manifests.values()}) == 2 * SITES


def test_a_hostile_site_signs_its_lie_which_is_judged_like_any(tmp_path, digits):
    grid = Sites(tmp_path, {"hostile": 1, "attack": "sign_flip(scale=5.0)"})
    (record,), _ = records(grid, digits)
    assert all(told["verified"] for told in record.manifests.values())
    assert not all(verdict.accepted for verdict in record.verdicts.values()) or len(record.verdicts) == SITES


def test_an_update_that_somebody_changes_on_the_way_is_refused(tmp_path, digits):
    def tampering(message, context):
        reply = app(message, context)
        if context.node_id == 104 and message.metadata.message_type == "train":
            arrays = reply.content["arrays"]
            name = next(iter(arrays))
            moved = arrays[name].numpy()
            moved.ravel()[0] += 1e-3
            reply.content["arrays"] = ArrayRecord({**arrays, name: type(arrays[name])(moved)})
        return reply

    (record,), _ = records(Sites(tmp_path, app=tampering), digits)
    assert "another update than the one beside it" in record.refused[104]
    assert set(record.verdicts) == {101, 102, 103, 105}


def test_a_site_that_is_registered_with_another_key_is_refused(tmp_path, digits):
    grid = Sites(tmp_path)
    grid.public[105] = grid.public[101]
    (record,), _ = records(grid, digits)
    assert "not by the key that the node is registered with" in record.refused[105]


def test_a_site_without_a_key_is_told_what_to_write_before_it_trains(tmp_path, digits):
    grid = Sites(tmp_path, {"require-manifest": True})
    del grid._contexts[102].node_config["manifest-key"]
    (record,), _ = records(grid, digits)
    assert "start the node with --node-config" in record.refused[102]
    assert len(record.verdicts) == SITES - 1


def test_a_key_that_cannot_be_read_is_told(tmp_path, digits):
    grid = Sites(tmp_path, **{"manifest-key": str(tmp_path / "missing")})
    (record,), result = records(grid, digits)
    assert all("cannot be read" in reason for reason in record.refused.values())
    np.testing.assert_array_equal(vector(result.arrays), vector(arrays_of(digits.model(1))))


def test_replies_that_attackers_forge_go_out_and_are_refused_as_ever(tmp_path, digits):
    from hawthorn.client.attacks import hostile_clients

    grid = Sites(tmp_path, {"hostile": 1, "attack": "truncated_data"})
    (record,), _ = records(grid, digits, require=False)
    hostile = 101 + min(hostile_clients(SITES, 1, 1))
    assert hostile in record.refused
    assert hostile not in record.manifests
    assert len(record.verdicts) == SITES - 1
