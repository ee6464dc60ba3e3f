"""Who calls, by the certificate of the connection, and what that role may do."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from grpc import StatusCode

from ..certificates import REVOKED, ROLES, Described, described_certificate, revoked
from .hawthorn_pb2 import DESCRIPTOR
from .refusal import Refusal

READING = frozenset({"Status", "Runs", "Rounds", "Clients", "History", "Orders", "Watch"})
ANYBODY = frozenset(ROLES)


@dataclass(frozen=True)
class Caller:
    """The holder of a valid certificate, and the role that it gives."""

    name: str
    role: str


def roles_by_method() -> dict[str, frozenset[str]]:
    """Who may call what, by full method name; a method that is not here is anybody's who has a role."""
    roles: dict[str, frozenset[str]] = {}
    for method in DESCRIPTOR.services_by_name["Operator"].methods:
        roles[f"/hawthorn.v1.Operator/{method.name}"] = frozenset(
            {"viewer", "operator"} if method.name in READING else {"operator"}
        )
    for method in DESCRIPTOR.services_by_name["Aggregation"].methods:
        roles[f"/hawthorn.v1.Aggregation/{method.name}"] = frozenset({"aggregation"})
    return roles


class Access:
    """Callers by their certificates; a certificate revoked in the authority's folder ends with its next call."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._roles = roles_by_method()
        self._seen: tuple[int, int] | None = None
        self._revoked: frozenset[int] = frozenset()

    def caller(self, context: Any, method: str) -> Caller:
        """Who calls; raises `Refusal` for whom nobody vouches, and for a role that may not."""
        encoded = context.auth_context().get("x509_pem_cert")
        if not encoded:
            raise Refusal(StatusCode.UNAUTHENTICATED, "a client certificate is needed")
        told = _told(encoded[0])
        if told.expires <= datetime.now(UTC):  # the handshake was before that
            raise Refusal(StatusCode.UNAUTHENTICATED, f"the certificate of {told.name!r} has expired")
        if told.is_revoked(self._revoked_now()):
            raise Refusal(StatusCode.UNAUTHENTICATED, f"the certificate of {told.name!r} was revoked")
        permitted = self._roles.get(method, ANYBODY)
        if told.role not in permitted:
            role = f"the role {told.role!r}" if told.role in ROLES else "a certificate without a role"
            raise Refusal(
                StatusCode.PERMISSION_DENIED,
                f"{role} may not call {method.rpartition('/')[2]}, only {' and '.join(sorted(permitted))} may",
            )
        return Caller(told.name, told.role)

    def _revoked_now(self) -> frozenset[int]:
        try:
            told = os.stat(self.folder / REVOKED)
            seen = told.st_mtime_ns, told.st_size
        except FileNotFoundError:
            seen = None
        if seen != self._seen:
            self._revoked, self._seen = (frozenset() if seen is None else revoked(self.folder)), seen
        return self._revoked


@functools.lru_cache(maxsize=256)
def _told(encoded: bytes) -> Described:
    return described_certificate(x509.load_pem_x509_certificate(encoded))
