"""What a caller is told instead of an answer: a gRPC status for everything that can go wrong."""

from __future__ import annotations

from grpc import StatusCode
from hawthorn.strategies.errors import AuditError, HawthornError


class Refusal(HawthornError):  # noqa: N818 - an answer
    """A call that is not answered, for a reason that its caller is told."""

    def __init__(self, code: StatusCode, words: str) -> None:
        super().__init__(words)
        self.code = code


class Gone(HawthornError):  # noqa: N818 - no fault of anybody
    """A call whose caller has left: nobody is to be told anything."""


def refusal_of(error: Exception) -> Refusal:
    """The refusal that an error comes to; what is not raised on purpose is the server's own fault and says no more."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, AuditError):
        return Refusal(StatusCode.FAILED_PRECONDITION, str(error))
    if isinstance(error, HawthornError):
        return Refusal(StatusCode.INVALID_ARGUMENT, str(error))
    if isinstance(error, MemoryError):
        return Refusal(StatusCode.RESOURCE_EXHAUSTED, "the server has no memory left for this")
    return Refusal(StatusCode.INTERNAL, "the server failed; its log says how")
