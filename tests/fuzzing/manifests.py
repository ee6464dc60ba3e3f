"""Manifests of a hostile site, which holds a key of its own and signs what it likes."""

import functools
import json

from choices import Choices
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flower_rounds import sent_model
from flwr.app import ConfigRecord, Message, Metadata, RecordDict
from hawthorn.server.audit.schema import plain_data
from hawthorn.strategies.flower.provenance import PURPOSE, RECORD, SIGNED, Manifest, Provenance, arrays_digest

RUN, ROUND, NODE = 1, 3, 101


@functools.cache
def site():
    """A key, its public half, and the model with its digest."""
    key = ec.generate_private_key(ec.SECP384R1())
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    model = sent_model()
    return key, key.public_key().public_bytes(*form), model, arrays_digest(model)


def _document(choices, digest):
    """An honest manifest with some of its fields changed, gone, or too many."""
    honest = Manifest(str(RUN), ROUND, str(NODE), digest, digest, "c" * 64, 9, "ward 7", "2026-05-04T03:02:01Z", "1.0")
    document = json.loads(honest.payload())
    for _ in range(choices.below(4)):
        name = choices.of([*document, "more"])
        document[name] = choices.of((choices.text(), choices.whole(), choices.real(), None, True, [], {}))
        if choices.below(6) == 0:
            document[name] = choices.of(([choices.whole()] * 2000, {choices.text(): choices.whole()}, [[[]]]))
    return document


def fuzzed_manifest(data):
    """What is made of a manifest is plain data that can be written down, and is believed only if it is true."""
    choices = Choices(data)
    key, public, model, digest = site()
    document = _document(choices, digest)
    payload = json.dumps(document, sort_keys=choices.often(), separators=(",", ":")).encode()
    payload = choices.of((payload, payload, payload, b"[" * 5000, choices.blob(), payload + b" ", b"9" * 6000))
    signature = key.sign(PURPOSE + payload, SIGNED) if choices.often() else choices.blob()
    fields = {"manifest": payload, "signature": signature}
    if choices.below(8) == 0:
        fields[choices.text()] = choices.of((1, 2.0, "x", b"y", True, [1, 2]))
    registered = choices.of((public, public, public, b"", choices.blob()))
    metadata = Metadata(RUN, "", NODE, 1, "a message", "", 0.0, 1.0, "train")
    reply = Message(content=RecordDict({RECORD: ConfigRecord(fields)}), metadata=metadata)
    found = Provenance(ROUND, model, lambda node: registered).manifest(NODE, reply, model)
    json.dumps(plain_data(found), allow_nan=False).encode()
    if found["verified"]:
        assert registered == public
        assert (found["run"], found["round"], found["node"]) == (str(RUN), ROUND, str(NODE))
        assert found["arrays"] == found["sent"] == digest
    else:
        assert set(found) == {"verified", "fault"}
        assert found["fault"].isprintable()
        assert len(found["fault"]) < 500
