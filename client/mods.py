"""Flower mods around the client's handlers: the lie of a hostile client, and errors as replies."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, Context, Error, Message
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.constant import ErrorCode
from hawthorn.strategies.errors import HawthornError

from .assignment import Assignment, server_round

log = logging.getLogger(__name__)


def refusal(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """The reply; where the client's settings are wrong, an error reply that says what to write instead."""
    try:
        return call_next(message, context)
    except HawthornError as error:
        log.error("no work done: %s", error)
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(error)), reply_to=message)


def lie(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """The reply of an honest client; that of a hostile one with its update attacked: sent + attacked(update)."""
    reply = call_next(message, context)
    assignment = Assignment.of(context)
    if not assignment.recipe.own or reply.has_error() or "arrays" not in reply.content.array_records:
        return reply
    sent = message.content.array_records["arrays"]
    start = _vector(sent)
    update = assignment.recipe.attacked(
        (_vector(reply.content.array_records["arrays"]) - start)[np.newaxis],
        clients=assignment.clients,
        hostile=assignment.hostile,
        rng=assignment.random("lie", server_round(message)),
    )[0]
    reply.content["arrays"] = _record(start + update, sent)
    return reply


def _vector(arrays: ArrayRecord) -> npt.NDArray[np.float64]:
    """All parameters one after another, `(d,)`."""
    return np.concatenate([array.numpy().ravel().astype(np.float64) for array in arrays.values()])


def _record(vector: npt.NDArray[np.float64], layout: ArrayRecord) -> ArrayRecord:
    """The parameters in the names, shapes and dtypes of `layout`."""
    record, start = ArrayRecord(), 0
    for name, array in layout.items():
        size = int(np.prod(array.shape))
        # A lie longer than float32 can hold is sent as infinity, for the server to refuse.
        with np.errstate(over="ignore"):
            record[name] = Array(vector[start : start + size].reshape(array.shape).astype(array.dtype))
        start += size
    return record
