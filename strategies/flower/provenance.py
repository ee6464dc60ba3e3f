"""Provenance: what a client says, and signs, of the data behind an update, and whether that can be believed.

A manifest names the data set by its digest, and is bound to one update: to the run, the round, the node, the model that
was sent and the very numbers that came back. So it is of no use beside another update, in another round or from another
node. The signature is by the key that the node is registered with. It says who claims this, not that it is true.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    load_pem_public_key,
    load_ssh_private_key,
    load_ssh_public_key,
)
from flwr.app import Array, ConfigRecord, Message

from ..errors import SettingError
from .arrays import viewed

RECORD = "hawthorn.manifest"  # the name of the record of a reply that holds a manifest
PURPOSE = b"hawthorn manifest 1\n"  # is signed too: the same key signs other things, for Flower
LONGEST = 8192  # bytes of a manifest; a round keeps those of all its clients
LONGEST_SIGNATURE = 256
LONGEST_TEXT = 500
MOST_CLASSES = 1000
MOST_FACTS = 50  # of vetting
SIGNED = ec.ECDSA(hashes.SHA384())


class Unbelievable(Exception):  # noqa: N818
    """Why a manifest is no evidence; caught where it is looked at."""


@dataclass(frozen=True)
class Manifest:
    """What a client says of one update of its own.

    `run`, `round` and `node` are where it belongs, `sent` and `arrays` the digests of the model that was sent and of
    the arrays that came back (`arrays_digest`). `dataset` is the digest of the examples trained on, `examples` their
    number, `classes` how many there are of each class, where that is told. `source` is the site's own text, `time` in
    UTC by the site's clock, `vetting` what vetting found, by check.
    """

    run: str
    round: int
    node: str
    sent: str
    arrays: str
    dataset: str
    examples: int
    source: str
    time: str
    software: str
    classes: list[int] | None = None
    vetting: dict[str, int | str] | None = None

    def payload(self) -> bytes:
        """The manifest in its one canonical form: what is signed, beside `PURPOSE`."""
        return _canonical(asdict(self))

    @classmethod
    def read(cls, payload: bytes) -> Manifest:
        """The manifest in a payload; raises `Unbelievable` unless it is one, in canonical form.

        >>> told = Manifest("1", 2, "3", "a" * 64, "b" * 64, "c" * 64, 9, "ward 7", "2026-05-04T03:02:01Z", "1.0")
        >>> Manifest.read(told.payload()) == told
        True
        """
        try:
            found: object = json.loads(payload)
        except (ValueError, RecursionError):
            raise Unbelievable("it is no JSON") from None
        if not isinstance(found, dict) or set(cast("dict[str, object]", found)) != {one.name for one in fields(cls)}:
            raise Unbelievable("it has other fields than a manifest")
        document = cast("dict[str, Any]", found)
        for name, right in _FORMS.items():
            if not right(document[name]):
                raise Unbelievable(f"{name} is not what it must be")
        if _canonical(document) != payload:
            raise Unbelievable("it is not in canonical form")
        return cls(**document)


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def _digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def is_text(value: object) -> bool:
    """Whether a value is text that a manifest may hold: what no database could give back is none.

    >>> is_text("ward 7"), is_text("ward \\0"), is_text("ward \\ud800")
    (True, False, False)
    """
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and re.search("[\0\ud800-\udfff]", value) is None


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _number(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9]{1,20}", value) is not None


def _time(value: object) -> bool:
    return (
        isinstance(value, str)
        and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", value) is not None
    )


def _counts(value: object) -> bool:
    if not isinstance(value, list):
        return value is None
    counts = cast("list[object]", value)
    return len(counts) <= MOST_CLASSES and all(map(_count, counts))


def _facts(value: object) -> bool:
    if not isinstance(value, dict):
        return value is None
    facts = cast("dict[object, object]", value)
    return len(facts) <= MOST_FACTS and all(
        is_text(key) and (is_text(one) or _count(one)) for key, one in facts.items()
    )


_FORMS: dict[str, Callable[[object], bool]] = {
    "run": _number,
    "round": _count,
    "node": _number,
    "sent": _digest,
    "arrays": _digest,
    "dataset": lambda value: value == "" or _digest(value),
    "examples": _count,
    "source": is_text,
    "time": _time,
    "software": is_text,
    "classes": _counts,
    "vetting": _facts,
}


def arrays_digest(arrays: Mapping[str, Array]) -> str:
    """The SHA-256 of arrays: their names in order, dtypes, shapes and numbers, however they are serialized.

    >>> from flwr.app import ArrayRecord
    >>> one, other = (ArrayRecord([np.array([1, 2], kind)]) for kind in (np.float32, np.float64))
    >>> arrays_digest(one) == arrays_digest(one.copy()), arrays_digest(one) == arrays_digest(other)
    (True, False)
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        numbers = viewed(arrays[name])
        digest.update(_canonical({"name": name, "dtype": numbers.dtype.name, "shape": list(numbers.shape)}))
        little = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def private_key(path: str | Path) -> ec.EllipticCurvePrivateKey:
    """The private key in an OpenSSH file, such as SuperNodes authenticate with; raises `SettingError`."""
    expected = "manifest-key must be an OpenSSH file with a P-384 key and no passphrase, as `ssh-keygen -t ecdsa -b 384"
    try:
        key = load_ssh_private_key(Path(path).expanduser().read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingError(f'{expected} -N ""` makes: {str(path)!r} cannot be read: {error}') from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SettingError(f'{expected} -N ""` makes, but {str(path)!r} holds {type(key).__name__}')
    return key


def signed(manifest: Manifest, key: ec.EllipticCurvePrivateKey) -> ConfigRecord:
    """The manifest and its signature, as they travel in a reply."""
    payload = manifest.payload()
    if len(payload) > LONGEST:
        raise SettingError(
            f"a manifest takes at most {LONGEST} bytes, got {len(payload)}: write a shorter source, or "
            "manifest-classes=false"
        )
    return ConfigRecord({"manifest": payload, "signature": key.sign(PURPOSE + payload, SIGNED)})


def is_signed(payload: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether a signature is of this payload and by the holder of a public key (PEM or OpenSSH)."""
    key = _public_key(public_key)
    if key is None:
        return False
    try:
        key.verify(signature, PURPOSE + payload, SIGNED)
    except InvalidSignature:
        return False
    return True


@functools.lru_cache(maxsize=4096)
def _public_key(public_key: bytes) -> ec.EllipticCurvePublicKey | None:
    for load in (load_pem_public_key, load_ssh_public_key):
        try:
            key = load(public_key)
        except (ValueError, UnsupportedAlgorithm):
            continue
        if isinstance(key, ec.EllipticCurvePublicKey):
            return key
    return None


class Provenance:
    """One round's look at manifests: what the round is, the model that was sent, and the nodes' registered keys."""

    def __init__(
        self, round: int, sent: Mapping[str, Array], public_key: Callable[[int], bytes], *, required: bool = False
    ) -> None:
        self.round = round
        self.sent = sent
        self.public_key = public_key
        self.required = required

    def manifest(self, node: int, reply: Message, arrays: Mapping[str, Array]) -> dict[str, Any] | None:
        """What a client said of its data, plain data with `verified`; None if it said nothing. Never raises.

        The arrays are those of the reply, admitted. Of a manifest that cannot be believed there is the `fault` only.
        """
        record: object = reply.content.get(RECORD)
        if record is None:
            return None
        try:
            return self._believed(node, record, str(reply.metadata.run_id), arrays)
        except Unbelievable as fault:
            return {"verified": False, "fault": str(fault)}
        except Exception as error:  # whatever a client can make go wrong is its own loss
            return {"verified": False, "fault": f"it cannot be read: {type(error).__name__}"}

    def _believed(self, node: int, record: object, run: str, arrays: Mapping[str, Array]) -> dict[str, Any]:
        payload, signature = _parts(record)
        key = self.public_key(node)
        if not key:
            raise Unbelievable("the node is registered without a key")
        if not is_signed(payload, signature, key):
            raise Unbelievable("the signature is not by the key that the node is registered with")
        found = Manifest.read(payload)
        for name, expected in (("run", run), ("round", self.round), ("node", str(node))):
            if getattr(found, name) != expected:
                raise Unbelievable(f"it is of {name} {getattr(found, name)}, but this is {name} {expected}")
        if found.sent != self._sent_digest:
            raise Unbelievable("it is of another model than the one that was sent")
        if found.arrays != arrays_digest(arrays):
            raise Unbelievable("it is of another update than the one beside it")
        return {"verified": True, **asdict(found), "signature": signature.hex()}

    @functools.cached_property
    def _sent_digest(self) -> str:
        return arrays_digest(self.sent)


def _parts(record: object) -> tuple[bytes, bytes]:
    """The payload and the signature, of the right kinds and sizes; raises `Unbelievable`."""
    if not isinstance(record, ConfigRecord) or set(record) != {"manifest", "signature"}:
        raise Unbelievable("expected a config record with manifest and signature")
    payload, signature = record["manifest"], record["signature"]
    if not isinstance(payload, bytes) or not isinstance(signature, bytes):
        raise Unbelievable("manifest and signature must be bytes")
    if len(payload) > LONGEST or len(signature) > LONGEST_SIGNATURE:
        raise Unbelievable(f"it is longer than {LONGEST} bytes, or its signature than {LONGEST_SIGNATURE}")
    return payload, signature
