"""Certificates and keys: what they say, that other programs take them, and that no key is ever lost."""

import ssl
import stat
import subprocess
from shutil import which

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hawthorn.server.certificates import (
    ROLES,
    Authority,
    Pair,
    described,
    node_identity,
    node_key,
    remark,
    revoked,
)
from hawthorn.strategies.errors import SettingError


@pytest.fixture
def authority(tmp_path):
    return Authority.made(tmp_path / "pki", "three hospitals")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def handshake(authority, server, client, host):
    """The common name and unit that the server sees of a client, by OpenSSL in memory."""
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(server.certificate, server.key)
    there.load_verify_locations(authority.folder / "ca.crt")
    there.verify_mode = ssl.CERT_REQUIRED
    here = ssl.create_default_context(cafile=authority.folder / "ca.crt")
    here.verify_flags |= ssl.VERIFY_X509_STRICT
    here.load_cert_chain(client.certificate, client.key)
    wires = [ssl.MemoryBIO() for _ in range(4)]
    ends = [
        here.wrap_bio(wires[0], wires[1], server_hostname=host),
        there.wrap_bio(wires[2], wires[3], server_side=True),
    ]
    done = [False, False]
    for _ in range(20):
        for place, end in enumerate(ends):
            if not done[place]:
                try:
                    end.do_handshake()
                    done[place] = True
                except ssl.SSLWantReadError:
                    pass
            wires[2].write(wires[1].read())
            wires[0].write(wires[3].read())
    assert done == [True, True]
    names = dict(part[0] for part in ends[1].getpeercert()["subject"])
    return names["commonName"], names.get("organizationalUnitName")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("host", ["localhost", "fl.example.org", "127.0.0.1", "::1"])
def test_a_server_and_a_client_know_each_other(authority, role, host):
    server = authority.server("server", ["localhost", "FL.example.org", "127.0.0.1", "::1"])
    client = authority.client("ward-7", role)
    assert handshake(authority, server, client, host) == ("ward-7", role)
    assert described(server.certificate).hosts == ("localhost", "fl.example.org", "127.0.0.1", "::1")


def test_another_host_another_authority_or_a_server_as_a_client_is_not_believed(authority, tmp_path):
    server = authority.server("server", ["localhost"])
    client = authority.client("ward-7", "viewer")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(authority, server, client, "fl.example.org")
    stranger = Authority.made(tmp_path / "other", "three hospitals").client("ward-7", "operator")
    with pytest.raises(ssl.SSLError):
        handshake(authority, server, stranger, "localhost")
    with pytest.raises(ssl.SSLError):
        handshake(authority, server, server, "localhost")
    with pytest.raises(ssl.SSLError):
        handshake(authority, client, client, "localhost")


def test_keys_are_for_their_owner_and_never_overwritten(authority):
    pair = authority.client("ward-7", "viewer")
    before = pair.key.read_bytes(), (authority.folder / "ca.key").read_bytes()
    assert {mode(path) for path in authority.folder.iterdir()} == {0o600}
    assert mode(authority.folder) == 0o700
    with pytest.raises(SettingError, match="renew it"):
        authority.client("ward-7", "operator")
    with pytest.raises(SettingError, match="renew it"):
        authority.server("ca", ["localhost"])
    with pytest.raises(SettingError, match="already"):
        Authority.made(authority.folder)
    assert (pair.key.read_bytes(), (authority.folder / "ca.key").read_bytes()) == before
    node_key(authority.folder / "node")
    with pytest.raises(SettingError, match="overwritten"):
        node_key(authority.folder / "node")


def test_a_key_whose_certificate_was_never_written_gets_one(authority):
    pair = authority.client("ward-7", "viewer")
    key = pair.key.read_bytes()
    pair.certificate.unlink()
    authority.client("ward-7", "viewer")
    assert pair.key.read_bytes() == key
    assert described(pair.certificate).name == "ward-7"


def test_a_renewed_certificate_says_the_same_for_the_same_key_for_longer(authority):
    pair = authority.server("server", ["localhost", "10.0.0.1"], days=10)
    before, key = described(pair.certificate), pair.key.read_bytes()
    assert "expires on" in remark(pair.certificate)
    assert Authority.opened(authority.folder).renewed("server") == pair
    after = described(pair.certificate)
    assert (after.name, after.role, after.hosts) == (before.name, before.role, before.hosts)
    assert after.serial != before.serial
    assert 396 < after.days_left <= 397
    assert remark(pair.certificate) == ""
    assert pair.key.read_bytes() == key
    client = authority.client("ward-7", "aggregation", days=-1)
    assert "has expired" in remark(client.certificate)
    authority.renewed("ward-7")
    assert handshake(authority, pair, client, "localhost") == ("ward-7", "aggregation")


def test_nothing_outlives_its_authority_and_a_renewed_one_vouches_for_what_was_issued(tmp_path):
    authority = Authority.made(tmp_path / "pki", days=5)
    server, client = authority.server("server", ["localhost"]), authority.client("ward-7", "viewer")
    assert described(server.certificate).expires == described(authority.folder / "ca.crt").expires
    authority.renewed("ca")
    assert described(authority.folder / "ca.crt").days_left > 3000
    assert handshake(authority, server, client, "localhost") == ("ward-7", "viewer")


def test_revoked_serials_are_kept(authority):
    serials = [authority.revoke(authority.client(name, "viewer").key.stem) for name in ("a", "b")]
    keys = [described(authority.folder / f"{name}.crt").key for name in ("a", "b")]
    assert revoked(authority.folder) == {*serials, *keys}
    assert revoked(authority.folder / "nowhere") == frozenset()


def test_what_was_revoked_is_not_renewed_nor_is_another_issued_for_its_key(authority):
    pair = authority.client("a", "viewer")
    authority.revoke("a")
    with pytest.raises(SettingError, match=r"a\.key was revoked: move it and a\.crt away"):
        authority.renewed("a")
    pair.certificate.unlink()
    with pytest.raises(SettingError, match=r"a\.key was revoked"):
        authority.client("a", "viewer")
    pair.key.unlink()
    authority.client("a", "viewer")
    assert not described(pair.certificate).is_revoked(revoked(authority.folder))


def test_a_node_key_is_what_ssh_keygen_makes(tmp_path):
    public = node_key(tmp_path / "node", "hospital-a")
    assert (mode(tmp_path / "node"), mode(public)) == (0o600, 0o600)
    key = serialization.load_ssh_private_key((tmp_path / "node").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp384r1"
    kind, body, comment = public.read_text().split()
    assert (kind, comment) == ("ecdsa-sha2-nistp384", "hospital-a")
    if which("ssh-keygen"):
        derived = subprocess.run(
            ["ssh-keygen", "-y", "-f", str(tmp_path / "node")], capture_output=True, text=True, check=True
        ).stdout
        assert derived.split()[:2] == [kind, body]


def test_flower_takes_a_node_key_and_knows_it_by_the_same_identity(tmp_path):
    from flwr.cli.supernode.register import try_load_public_key
    from hawthorn.strategies.flower.clients import identity

    public = node_key(tmp_path / "node")
    assert node_identity(public) == identity(try_load_public_key(public))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda authority: authority.client("a", "admin"), "one of viewer, operator, aggregation"),
        (lambda authority: authority.client("../a", "viewer"), "letters, digits"),
        (lambda authority: authority.client("", "viewer"), "1 to 64 characters"),
        (lambda authority: authority.server("a", []), "needs the hosts"),
        (lambda authority: authority.server("a", ["http://x"]), "a host must be"),
        (lambda authority: authority.server("a", ["ä.example"]), "a host must be"),
        (lambda authority: authority.renewed("nobody"), "cannot read"),
        (lambda authority: authority.revoke("nobody"), "cannot read"),
        (lambda authority: Authority.opened(authority.folder / "nowhere"), "cannot read"),
        (lambda authority: Authority.made(authority.folder / "x", "n" * 65), "1 to 64 characters"),
        (lambda authority: node_identity(authority.folder / "ca.crt"), "no public key"),
        (lambda authority: node_key(authority.folder / "no" / "node"), "cannot write"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(authority, call, words):
    with pytest.raises(SettingError, match=words):
        call(authority)


def test_a_key_that_is_not_the_authoritys_is_noticed(authority, tmp_path):
    other = Authority.made(tmp_path / "other")
    (authority.folder / "ca.key").write_bytes((other.folder / "ca.key").read_bytes())
    with pytest.raises(SettingError, match="is not the key of"):
        Authority.opened(authority.folder)
    (authority.folder / "ca.key").write_text("nothing")
    with pytest.raises(SettingError, match="no private key"):
        Authority.opened(authority.folder)


def test_a_pair_is_named_in_its_folder(tmp_path):
    assert Pair.named(tmp_path, "server") == Pair(tmp_path / "server.crt", tmp_path / "server.key")
