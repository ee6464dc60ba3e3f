"""A certificate authority of a federation's own, what it issues, and the keys of SuperNodes: files in one folder.

`ca.crt` may go anywhere, `ca.key` stays where it is. A client's certificate names its holder (CN) and the role that the
control services give it (OU). What was lost or stolen is revoked: its serial number and its key's number go into the
file `revoked`, so that no certificate of that key holds any more, of whatever date.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hawthorn.strategies.errors import SettingError

ROLES = ("viewer", "operator", "aggregation")
CA_DAYS = 3650
DAYS = 397  # what browsers and libraries accept of a server at most
WARNED = 30  # days before the end in which `remark` warns
SKEW = timedelta(minutes=5)  # clocks of sites differ; a certificate made now is to hold there too
REVOKED = "revoked"


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, as files."""

    certificate: Path
    key: Path

    @classmethod
    def named(cls, folder: Path | str, name: str) -> Pair:
        """The pair `NAME.crt`, `NAME.key` of a folder, whether or not it is there; raises `SettingError` for a path."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise SettingError(f"a certificate's name must be letters, digits, '.', '_' and '-', got {name!r}")
        return cls(Path(folder, f"{name}.crt"), Path(folder, f"{name}.key"))


@dataclass(frozen=True)
class Described:
    """What a certificate says: its holder, its role (empty for a server's), its hosts, and when it holds, in UTC.

    `key` is the number of its key: the SHA-256 of the public one.
    """

    name: str
    role: str
    hosts: tuple[str, ...]
    serial: int
    key: int
    starts: datetime
    expires: datetime

    @property
    def days_left(self) -> float:
        """Days until it expires, negative afterwards."""
        return (self.expires - datetime.now(UTC)) / timedelta(days=1)

    def is_revoked(self, numbers: frozenset[int]) -> bool:
        """Whether it or its key is among the numbers that an authority has revoked."""
        return self.serial in numbers or self.key in numbers


@dataclass(frozen=True, eq=False)
class Authority:
    """A private certificate authority; nothing that it writes replaces a key.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     authority = Authority.made(folder, "three hospitals")
    ...     pair = authority.client("ward-7", "viewer")
    ...     described(pair.certificate).role, pair.key.name
    ('viewer', 'ward-7.key')
    """

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def made(cls, folder: Path | str, name: str = "Hawthorn", *, days: float = CA_DAYS) -> Authority:
        """A new authority in a folder, which is made if need be; raises `SettingError` where there is one already."""
        folder = Path(folder)
        pair = Pair.named(folder, "ca")
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SettingError(f"cannot make the folder {str(folder)!r}: {error.strerror}") from error
        subject = _subject(name, "")
        key = _key_for(pair)
        certificate = _authority_certificate(subject, key, days)
        _write_certificate(pair.certificate, certificate)
        return cls(folder, certificate, key)

    @classmethod
    def opened(cls, folder: Path | str) -> Authority:
        """The authority in a folder; raises `SettingError` where there is none that could sign."""
        pair = Pair.named(folder, "ca")
        certificate, key = _certificate(pair.certificate), _private_key(pair.key)
        if _bits(certificate.public_key()) != _bits(key.public_key()):
            raise SettingError(f"{pair.key} is not the key of {pair.certificate}")
        return cls(Path(folder), certificate, key)

    def server(self, name: str, hosts: Sequence[str], *, days: float = DAYS) -> Pair:
        """A server's certificate for host names and IP addresses, as `NAME.crt` and `NAME.key`."""
        if not hosts:
            raise SettingError("a server's certificate needs the hosts it is reached by, such as 'localhost'")
        alternatives = x509.SubjectAlternativeName([_host(host) for host in hosts])
        return self._issued(name, _subject(name, ""), ExtendedKeyUsageOID.SERVER_AUTH, alternatives, days)

    def client(self, name: str, role: str, *, days: float = DAYS) -> Pair:
        """A client's certificate with one of the `ROLES`, as `NAME.crt` and `NAME.key`."""
        if role not in ROLES:
            raise SettingError(f"a role must be one of {', '.join(ROLES)}, got {role!r}")
        return self._issued(name, _subject(name, role), ExtendedKeyUsageOID.CLIENT_AUTH, None, days)

    def renewed(self, name: str, *, days: float | None = None) -> Pair:
        """The pair of that name with a certificate that holds from now on, for the same key, holder, role and hosts.

        Raises `SettingError` for one that was revoked.
        """
        pair = Pair.named(self.folder, name)
        old, key = _certificate(pair.certificate), _private_key(pair.key)
        self._check_key(pair, described_certificate(old))
        if name == "ca":
            _write_certificate(pair.certificate, _authority_certificate(old.subject, key, days or CA_DAYS))
            return pair
        try:
            hosts = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            purpose = ExtendedKeyUsageOID.SERVER_AUTH
        except x509.ExtensionNotFound:
            hosts, purpose = None, ExtendedKeyUsageOID.CLIENT_AUTH
        _write_certificate(pair.certificate, self._signed(old.subject, key, purpose, hosts, days or DAYS))
        return pair

    def revoke(self, name: str) -> int:
        """The serial number of that certificate; it is refused from now on, and so are all others of its key."""
        told = described(Pair.named(self.folder, name).certificate)
        with open(self.folder / REVOKED, "a", encoding="ascii", opener=_private) as file:
            file.write(f"{told.serial:x} {name}\n{told.key:x} {name}\n")
            file.flush()
            os.fsync(file.fileno())
        return told.serial

    def _issued(
        self,
        name: str,
        subject: x509.Name,
        purpose: x509.ObjectIdentifier,
        hosts: x509.SubjectAlternativeName | None,
        days: float,
    ) -> Pair:
        pair = Pair.named(self.folder, name)
        key = _key_for(pair)
        certificate = self._signed(subject, key, purpose, hosts, days)
        self._check_key(pair, described_certificate(certificate))
        _write_certificate(pair.certificate, certificate)
        return pair

    def _check_key(self, pair: Pair, told: Described) -> None:
        if told.is_revoked(revoked(self.folder)):
            raise SettingError(f"{pair.key} was revoked: move it and {pair.certificate.name} away, and issue another")

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        purpose: x509.ObjectIdentifier,
        hosts: x509.SubjectAlternativeName | None,
        days: float,
    ) -> x509.Certificate:
        end = min(_now() + timedelta(days=days), self.certificate.not_valid_after_utc)
        if end <= _now() and days > 0:
            raise SettingError("the authority's own certificate has expired: renew 'ca' first, and hand it out again")
        builder = (
            _begun(subject, self.certificate.subject, key, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if hosts is not None:
            builder = builder.add_extension(hosts, critical=False)
        return builder.sign(self.key, hashes.SHA256())


def described(path: Path | str) -> Described:
    """What a certificate file says; raises `SettingError`."""
    return described_certificate(_certificate(Path(path)))


def described_certificate(certificate: x509.Certificate) -> Described:
    """What a certificate says."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = (*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress)))
    except x509.ExtensionNotFound:
        hosts = ()
    return Described(
        name=_attribute(certificate.subject, NameOID.COMMON_NAME),
        role=_attribute(certificate.subject, NameOID.ORGANIZATIONAL_UNIT_NAME),
        hosts=hosts,
        serial=certificate.serial_number,
        key=int.from_bytes(hashlib.sha256(_bits(certificate.public_key())).digest()),
        starts=certificate.not_valid_before_utc,
        expires=certificate.not_valid_after_utc,
    )


def remark(path: Path | str) -> str:
    """What an operator should know about a certificate's end; empty while it holds for another month."""
    told = described(path)
    if told.days_left > WARNED:
        return ""
    when = f"{told.expires:%Y-%m-%d %H:%M} UTC"
    return f"{path} expires on {when}: renew it" if told.days_left > 0 else f"{path} has expired on {when}: renew it"


def revoked(folder: Path | str) -> frozenset[int]:
    """The numbers that an authority has revoked, of certificates and of keys."""
    try:
        lines = Path(folder, REVOKED).read_text(encoding="ascii").splitlines()
        return frozenset(int(line.split()[0], 16) for line in lines if line.strip())
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError) as error:
        raise SettingError(f"cannot read {Path(folder, REVOKED)}: {error}") from error


def node_key(path: Path | str, comment: str = "") -> Path:
    """The public key file `PATH.pub` of a new SuperNode key in `PATH`, as of `ssh-keygen -t ecdsa -b 384`.

    `flower-supernode --auth-supernode-private-key` takes the one, `flwr supernode register` the other. Raises
    `SettingError` where there is a key already.
    """
    path = Path(path)
    public = path.with_name(path.name + ".pub")
    key = ec.generate_private_key(ec.SECP384R1())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    _write_new(path, key.private_bytes(*form))
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    _write_new(public, line + f" {comment}".rstrip().encode() + b"\n")
    return public


def node_identity(path: Path | str) -> str:
    """The identity by which a federation knows the holder of a SuperNode's public key file; raises `SettingError`."""
    from hawthorn.strategies.flower.clients import identity

    try:
        key = serialization.load_ssh_public_key(_content(Path(path)))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingError(f"{path} is no public key in OpenSSH's format: {error}") from error
    return identity(
        key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )  # the form in which Flower registers it


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _subject(name: str, role: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role)] if role else []
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), *parts])
    except ValueError as error:
        raise SettingError(f"a holder's name must be 1 to 64 characters, got {name!r}") from error


def _host(written: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(written))
    label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if len(written) > 253 or not re.fullmatch(rf"{label}(\.{label})*", written):
        raise SettingError(f"a host must be a name such as 'fl.example.org' or an IP address, got {written!r}")
    return x509.DNSName(written.lower())


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, end: datetime
) -> x509.CertificateBuilder:
    """What every certificate says: who, by whom, since when and until `end`, and which key."""
    start = min(_now() - SKEW, end - SKEW)  # whoever asks for one in the past gets it, expired
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority_certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: float) -> x509.Certificate:
    return (
        _begun(subject, subject, key, _now() + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    """An authority signs certificates, everything else signs handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _attribute(name: x509.Name, which: x509.ObjectIdentifier) -> str:
    """An attribute of a name; empty unless there is exactly one, so that nobody holds two roles."""
    found = name.get_attributes_for_oid(which)
    return str(found[0].value) if len(found) == 1 else ""


def _bits(key: object) -> bytes:
    return cast("ec.EllipticCurvePublicKey", key).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _key_for(pair: Pair) -> ec.EllipticCurvePrivateKey:
    """The key of a pair that has no certificate yet: a new P-256 key, unless a process ended between the two."""
    if pair.certificate.exists():
        raise SettingError(f"{pair.certificate} is there already: renew it, or write another name or folder")
    if pair.key.exists():
        return _private_key(pair.key)
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    _write_new(pair.key, key.private_bytes(*form))
    return key


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(_content(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingError(f"{path} is no private key without a password: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SettingError(f"{path} is no key on an elliptic curve")
    return key


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_content(path))
    except ValueError as error:
        raise SettingError(f"{path} is no certificate: {error}") from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads; raises `SettingError` rather than replace one."""
    try:
        with open(path, "xb", opener=_private) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise SettingError(f"{path} is there already, and no key is ever overwritten: write another path") from error
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}") from error


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    """Write a certificate, in one step where it replaces another."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _write_new(beside, certificate.public_bytes(serialization.Encoding.PEM))
        os.replace(beside, path)
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}") from error
