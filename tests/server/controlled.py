"""A real server of the control services in this process, and certificates for everybody."""

from contextlib import contextmanager

import grpc
import pytest
from hawthorn.server.certificates import Authority
from hawthorn.server.control import hawthorn_pb2 as pb
from hawthorn.server.control.remote import Service, channel
from hawthorn.server.control.serving import serving

PEOPLE = {"vera": "viewer", "otto": "operator", "flare": "aggregation", "openfl": "aggregation"}


@contextmanager
def served(folder, **settings):
    """A server on a port of its own."""
    with serving("127.0.0.1:0", folder, **settings) as found:
        yield found


def pki(folder):
    """The folder of a new authority, with a server and everybody."""
    authority = Authority.made(folder)
    authority.server("server", ["localhost", "127.0.0.1"])
    for name, role in PEOPLE.items():
        authority.client(name, role)
    return authority


@contextmanager
def service(found, folder, name, which):
    """One service as somebody calls it."""
    with channel(f"127.0.0.1:{found.port}", folder, name) as opened:
        yield Service(opened, which)


@contextmanager
def refused(code, words=""):
    """The call within is refused with this status and words."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert caught.value.code().name == code, (caught.value.code(), caught.value.details())
    assert words in caught.value.details()


def opening(**fields):
    """A request for a session that fits, with what a test changes."""
    return pb.OpenRequest(
        **{"session": "s", "defense": "trimmed_mean", "dimension": 50, "numbers": pb.FLOAT32, "clients": 10, **fields}
    )
