"""Manifests: what one must be to be believed, that nothing of it can be changed or used again, and what is refused."""

import contextlib
import json
import subprocess
from dataclasses import asdict, fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flower_rounds import assert_same_model, honest, sent_model
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import FedAvg
from hawthorn.client.attacks.malformed import MALFORMED
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.strategies import Defense, RobustStrategy, SettingError
from hawthorn.strategies.flower.clients import identity
from hawthorn.strategies.flower.provenance import (
    LONGEST,
    RECORD,
    Manifest,
    Unbelievable,
    arrays_digest,
    is_signed,
    private_key,
    signed,
)

CLIENTS = 5
KEYS = {101 + client: ec.generate_private_key(ec.SECP384R1()) for client in range(CLIENTS)}
STRANGER = ec.generate_private_key(ec.SECP384R1())
ODD = 103  # the node whose manifest is not as it should be

TOLD = Manifest(
    run="1",
    round=1,
    node=str(ODD),
    sent="a" * 64,
    arrays="b" * 64,
    dataset="c" * 64,
    examples=120,
    source="ward 7",
    time="2026-05-04T03:02:01Z",
    software="hawthorn 0.1.0",
    classes=[60, 60],
    vetting={"action": "drop", "labels": 3},
)


def pem(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


class Registered(InProcessGrid):
    """The grid of nodes that are registered with keys, as a SuperLink tells of them."""

    def __init__(self, app, nodes=CLIENTS, keys=KEYS):
        super().__init__(app, nodes)
        self.keys = keys

    def get_nodes(self):
        return [
            SimpleNamespace(node_id=node, name=f"site-{node}", public_key=pem(self.keys[node]))
            for node in self.get_node_ids()
        ]


def manifest_beside(message, reply, node, round):
    sent, arrays = message.content["arrays"], reply.content["arrays"]
    return replace(TOLD, round=round, node=str(node), sent=arrays_digest(sent), arrays=arrays_digest(arrays))


def site(change=lambda node, reply, manifest, key: signed(manifest, key), only=ODD):
    """The app of honest sites that sign; `change` makes the record that the odd one sends."""

    def app(message, context):
        reply = honest(message, context)
        if message.metadata.message_type == "train":
            node, round = context.node_id, message.content["config"]["server-round"]
            manifest, key = manifest_beside(message, reply, node, round), KEYS[node]
            odd = only in (None, node)
            record = change(node, reply, manifest, key) if odd else signed(manifest, key)
            if record is not None:
                reply.content[RECORD] = record
        return reply

    return app


def ran(app, rounds=1, require=False, grid=Registered):
    seen = []
    strategy = RobustStrategy(FedAvg(), Defense("median", f=0.2), observers=[seen.append], require_manifest=require)
    result = strategy.start(grid(app, CLIENTS), sent_model(), num_rounds=rounds)
    return seen, result


def test_the_manifests_of_a_round_are_in_its_record_and_say_that_they_were_verified():
    (record,), _ = ran(site())
    assert set(record.manifests) == set(KEYS)
    told = record.manifests[ODD]
    assert told["verified"] is True
    assert (told["source"], told["examples"], told["classes"]) == ("ward 7", 120, [60, 60])
    json.dumps(told)  # plain data
    assert record.clients[ODD].identity == identity(pem(KEYS[ODD]))


def test_whoever_reads_the_record_later_can_verify_the_signature_again():
    (record,), _ = ran(site())
    told = {key: value for key, value in record.manifests[ODD].items() if key not in ("verified", "signature")}
    signature = bytes.fromhex(record.manifests[ODD]["signature"])
    assert is_signed(Manifest(**told).payload(), signature, record.clients[ODD].public_key)
    assert not is_signed(Manifest(**{**told, "examples": 121}).payload(), signature, record.clients[ODD].public_key)
    assert not is_signed(Manifest(**told).payload(), signature, b"no key")


def test_a_federation_without_manifests_is_as_before():
    (record,), result = ran(honest)
    (other,), expected = ran(site())
    assert record.manifests == {}
    assert not record.refused
    assert len(other.verdicts) == len(record.verdicts) == CLIENTS
    assert_same_model(result.arrays, expected.arrays)


CHANGED = {
    "run": "2",
    "round": 2,
    "node": "104",
    "sent": "d" * 64,
    "arrays": "d" * 64,
    "dataset": "d" * 64,
    "examples": 121,
    "source": "ward 8",
    "time": "2026-05-04T03:02:02Z",
    "software": "hawthorn 0.1.1",
    "classes": None,
    "vetting": {"action": "drop", "labels": 0},
}


def test_every_field_is_tampered_with():
    assert set(CHANGED) == {one.name for one in fields(Manifest)}


def refused_by(change, match, **more):
    """That a changed manifest is no evidence; and that where manifests are required, the reply is refused."""
    (record,), _ = ran(site(change), **more)
    assert record.manifests[ODD]["verified"] is False
    assert match in record.manifests[ODD]["fault"]
    assert set(record.manifests[ODD]) == {"verified", "fault"}
    assert record.verdicts[ODD].accepted
    assert not record.refused
    (record,), _ = ran(site(change), require=True, **more)
    assert ODD not in record.verdicts
    assert ODD not in record.manifests
    assert "expected a signed manifest" in record.refused[ODD]
    assert match in record.refused[ODD]
    assert record.refused[ODD].isprintable()
    assert len(record.verdicts) == CLIENTS - 1


@pytest.mark.parametrize("field", CHANGED)
def test_a_field_changed_after_signing_breaks_the_signature(field):
    def change(node, reply, manifest, key):
        record = signed(manifest, key)
        return ConfigRecord({**record, "manifest": replace(manifest, **{field: CHANGED[field]}).payload()})

    refused_by(change, "the signature is not by the key")


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("run", "it is of run 2, but this is run 1"),
        ("round", "it is of round 2, but this is round 1"),
        ("node", "it is of node 104, but this is node 103"),
        ("sent", "another model than the one that was sent"),
        ("arrays", "another update than the one beside it"),
    ],
)
def test_a_manifest_of_something_else_is_no_evidence_however_well_signed(field, fault):
    refused_by(lambda node, reply, manifest, key: signed(replace(manifest, **{field: CHANGED[field]}), key), fault)


def test_somebody_elses_key_is_none():
    refused_by(lambda node, reply, manifest, key: signed(manifest, STRANGER), "not by the key")


def test_a_neighbors_manifest_is_not_ones_own():
    refused_by(lambda node, reply, manifest, key: signed(replace(manifest, node="104"), KEYS[104]), "not by the key")


def test_a_signature_for_another_purpose_with_the_same_key_is_none():
    def change(node, reply, manifest, key):
        from cryptography.hazmat.primitives import hashes

        payload = manifest.payload()
        return ConfigRecord({"manifest": payload, "signature": key.sign(payload, ec.ECDSA(hashes.SHA384()))})

    refused_by(change, "not by the key")


def test_an_update_that_is_changed_on_the_way_is_another_update():
    def change(node, reply, manifest, key):
        arrays = dict(reply.content["arrays"])
        arrays["bias"] = Array(arrays["bias"].numpy() + np.float32(1e-6))
        reply.content["arrays"] = ArrayRecord(arrays)
        return signed(manifest, key)

    refused_by(change, "another update")


def test_one_that_is_written_down_otherwise_is_the_same():
    def change(node, reply, manifest, key):
        arrays = {name: array.numpy() for name, array in reply.content["arrays"].items()}
        arrays["weight"] = np.asfortranarray(arrays["weight"])
        reply.content["arrays"] = ArrayRecord({name: Array(array) for name, array in reversed(arrays.items())})
        return signed(manifest, key)

    (record,), _ = ran(site(change))
    assert record.manifests[ODD]["verified"]


def test_a_manifest_cannot_be_used_again_in_another_round():
    kept = {}

    def change(node, reply, manifest, key):
        return kept.setdefault(node, signed(manifest, key))

    first, second = ran(site(change), rounds=2)[0]
    assert first.manifests[ODD]["verified"]
    assert second.manifests[ODD] == {"verified": False, "fault": "it is of round 1, but this is round 2"}


def test_nor_can_a_whole_reply_where_a_round_begins_again_from_another_model():
    first = {}

    def change(node, reply, manifest, key):
        if node in first:
            reply.content["arrays"], record = first[node]
            return record
        first[node] = reply.content["arrays"], signed(manifest, key)
        return first[node][1]

    app = site(change)
    assert ran(app)[0][0].manifests[ODD]["verified"]
    strategy, seen = RobustStrategy(FedAvg(), Defense("median", f=0.2)), []
    strategy.observers = (seen.append,)
    other = {name: Array(np.asarray(array.numpy() * 2)) for name, array in sent_model().items()}
    strategy.start(Registered(app), ArrayRecord(other), num_rounds=1)
    assert seen[0].manifests[ODD]["fault"] == "it is of another model than the one that was sent"


def payload_of(**changes):
    def change(node, reply, manifest, key):
        document = {**asdict(manifest), **changes}
        return raw(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())(node, reply, manifest, key)

    return change


def raw(payload):
    from hawthorn.strategies.flower.provenance import PURPOSE, SIGNED

    return lambda node, reply, manifest, key: ConfigRecord(
        {"manifest": payload, "signature": key.sign(PURPOSE + payload, SIGNED)}
    )


def spaced(node, reply, manifest, key):
    return raw(json.dumps(asdict(manifest)).encode())(node, reply, manifest, key)


def twice(node, reply, manifest, key):
    return raw(manifest.payload()[:-1] + b',"vetting":null}')(node, reply, manifest, key)


MALFORMED_MANIFESTS = {
    "no json": (raw(b"\xff{"), "no JSON"),
    "empty": (raw(b""), "no JSON"),
    "deep": (raw(b"[" * 4000), "no JSON"),
    "a long number": (raw(b"9" * 8000), "no JSON"),
    "a list": (raw(b"[]"), "other fields"),
    "other fields": (raw(b'{"run":"1"}'), "other fields"),
    "not a number": (raw(b"NaN"), "other fields"),
    "too long": (raw(b" " * (LONGEST + 1)), "longer than"),
    "spaced": (spaced, "canonical"),
    "said twice": (twice, "canonical"),
    "a field too many": (payload_of(more=1), "other fields"),
    "a float": (payload_of(examples=1.5), "examples is not"),
    "a truth": (payload_of(round=True), "round is not"),
    "a negative count": (payload_of(examples=-1), "examples is not"),
    "a huge count": (payload_of(examples=10**30), "examples is not"),
    "a short digest": (payload_of(dataset="abc"), "dataset is not"),
    "a long source": (payload_of(source="x" * 501), "source is not"),
    "a source with NUL": (payload_of(source="ward 7\0"), "source is not"),
    "half a character": (payload_of(source="ward \ud800"), "source is not"),
    "a fact with NUL": (payload_of(vetting={"action\0": 1}), "vetting is not"),
    "a list for text": (payload_of(source=["x"]), "source is not"),
    "a date": (payload_of(time="yesterday"), "time is not"),
    "counts of text": (payload_of(classes=["1"]), "classes is not"),
    "too many classes": (payload_of(classes=[1] * 1001), "classes is not"),
    "nested facts": (payload_of(vetting={"a": {"b": 1}}), "vetting is not"),
    "no record of theirs": (lambda node, reply, manifest, key: MetricRecord({"manifest": 1}), "config record"),
    "an array record less": (lambda node, reply, manifest, key: ConfigRecord({"manifest": b""}), "config record"),
    "text": (lambda *_: ConfigRecord({"manifest": "x", "signature": b""}), "must be bytes"),
    "a list of bytes": (lambda *_: ConfigRecord({"manifest": [b"x"], "signature": b""}), "must be bytes"),
    "a long signature": (lambda *_: ConfigRecord({"manifest": b"x", "signature": b"x" * 300}), "longer than"),
    "a signature of nothing": (lambda *_: ConfigRecord({"manifest": b"x", "signature": b""}), "not by the key"),
}


@pytest.mark.parametrize("name", MALFORMED_MANIFESTS)
def test_a_malformed_manifest_is_a_reason_and_nothing_worse(name):
    refused_by(*MALFORMED_MANIFESTS[name])


@pytest.mark.parametrize("seed", range(20))
def test_bytes_at_random_are_a_reason_too(seed):
    rng = np.random.default_rng(seed)
    payload = bytearray(TOLD.payload())
    for place in rng.integers(len(payload), size=3):
        payload[place] = rng.integers(256)
    told = None
    with contextlib.suppress(Unbelievable):  # anything else it raises fails the test
        told = Manifest.read(bytes(payload))
    assert told is None or told.payload() == bytes(payload)


def test_nobody_is_believed_in_a_federation_without_keys():
    (record,), _ = ran(site(), grid=InProcessGrid)
    assert {told["fault"] for told in record.manifests.values()} == {"the node is registered without a key"}


def test_where_manifests_are_required_a_reply_without_one_is_refused():
    (record,), _ = ran(site(lambda *_: None), require=True)
    assert record.refused == {ODD: "expected a signed manifest of the data: 'the reply has none'"}
    (record,), result = ran(honest, require=True)
    assert len(record.refused) == CLIENTS
    assert record.skipped
    assert_same_model(result.arrays, sent_model())


@pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED)
def test_a_manifest_mends_no_bad_reply(bad):
    """Admission is as strict beside a manifest as without one, and a forged reply with one raises nothing."""
    kept = []

    def app(message, context):
        reply = site()(message, context)
        kept.append(reply)
        return reply

    grid = Registered(app)
    strategy = RobustStrategy(FedAvg(), Defense("median", f=0.2))
    messages = strategy.configure_train(1, sent_model(), ConfigRecord(), grid)
    replies = grid.send_and_receive(messages)
    forged = [one for one in bad(replies[0]) if isinstance(one, Message)]
    for one in forged:
        if one.has_content() and RECORD not in one.content:
            one.content[RECORD] = replies[0].content[RECORD]
    strategy.aggregate_train(1, [*forged, *replies[1:]])
    node, record = replies[0].metadata.src_node_id, strategy.last_round
    assert (node in record.verdicts) == (bad.fault is None)
    assert set(record.manifests) == set(record.verdicts)


def test_a_key_is_one_that_openssh_makes(tmp_path):
    made = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", made], check=True)
    key = private_key(made)
    record = signed(TOLD, key)
    assert is_signed(record["manifest"], record["signature"], (tmp_path / "key.pub").read_bytes())
    assert is_signed(record["manifest"], record["signature"], pem(key))
    assert not is_signed(record["manifest"], record["signature"], pem(STRANGER))


def test_what_is_no_such_key_is_told_at_once(tmp_path):
    with pytest.raises(SettingError, match=r"manifest-key must be an OpenSSH file.*cannot be read"):
        private_key(tmp_path / "missing")
    (tmp_path / "text").write_text("a key")
    with pytest.raises(SettingError, match="cannot be read"):
        private_key(tmp_path / "text")
    other = tmp_path / "ed"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    with pytest.raises(SettingError, match="holds Ed25519PrivateKey"):
        private_key(other)
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "secret", "-f", locked], check=True)
    with pytest.raises(SettingError, match="no passphrase"):
        private_key(locked)


def test_a_manifest_that_is_too_long_is_not_signed():
    with pytest.raises(SettingError, match="at most 8192 bytes"):
        signed(replace(TOLD, vetting={"x" * 500 + str(i): 1 for i in range(40)}), STRANGER)
