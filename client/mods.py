"""Flower mods around the client's handlers: momentum, privacy, signatures, a hostile client's lie, errors as replies.

They are made when the app is imported, so each reads its settings when it is called.
"""

from __future__ import annotations

import logging

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Error, Message
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.constant import ErrorCode
from hawthorn.strategies.errors import HawthornError
from hawthorn.strategies.flower.provenance import RECORD, private_key
from hawthorn.strategies.flower.provenance import signed as signature

from .assignment import LAST_SENT, Assignment
from .attacks import Knowledge, Recipe
from .manifest import key_file, manifest_of
from .privacy import clipped, noise
from .privacy import settings as privacy_settings
from .vectors import moved, vector

MOMENTUM = "hawthorn.momentum"  # where a client's state keeps the average of its updates

log = logging.getLogger(__name__)


def refusal(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """The reply; where the client's settings are wrong, an error reply that says what to write instead."""
    try:
        return call_next(message, context)
    except HawthornError as error:
        log.error("no work done: %s", error)
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(error)), reply_to=message)


def lie(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """The reply of an honest client; that of a hostile one with its update attacked, and its message forged.

    A client can send one reply only: of an attack that makes several the first goes out, and one that makes none
    becomes an error. In rounds without an attack, and for what only colluders can make, it replies as if honest.
    """
    reply = call_next(message, context)
    assignment = Assignment.of(context)
    recipe, knowledge = assignment.attack(message), assignment.knowledge("lie", message, context)
    if assignment.recipe.looks_back:  # in rounds without an attack too
        context.state[LAST_SENT] = message.content.array_records["arrays"]
    if reply.has_error():
        return reply
    if recipe.crafts and not recipe.colludes:
        _attack(message, reply, recipe, knowledge)
    if not recipe.forges:
        return reply
    replies = recipe.replied(reply, knowledge)
    silence = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"no reply, as {recipe} has it")
    return replies[0] if replies else Message(silence, reply_to=message)


def steady(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """The reply, its update averaged with the client's own updates before, where the setting `client-momentum` says so.

    The client sends m = share * m + (1 - share) * update, m being kept in its state from round to round: Karimireddy,
    He, Jaggi, ICML 2021, https://arxiv.org/abs/2012.10333
    """
    reply = call_next(message, context)
    share = Assignment.of(context).client_momentum
    if not share or reply.has_error():
        return reply
    sent = message.content.array_records["arrays"]
    start = vector(sent)
    average = (1 - share) * (vector(reply.content.array_records["arrays"]) - start)
    if MOMENTUM in context.state.array_records:
        average += share * context.state.array_records[MOMENTUM]["average"].numpy()
    context.state[MOMENTUM] = ArrayRecord({"average": Array(average)})
    reply.content["arrays"] = moved(sent, average)
    return reply


def private(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """The reply, its update clipped to the length `clip-norm` and covered with `local-noise` times as much noise.

    Whole-numbered arrays are then as they were sent, and with noise no metric leaves the site but the number of
    examples: each would tell of the data without any. See `privacy.epsilon` for what that is worth.
    """
    longest, multiple = privacy_settings(context.run_config)
    reply = call_next(message, context)
    if not longest or reply.has_error():
        return reply
    name, answered = next(iter(reply.content.array_records.items()))
    sent = next(iter(message.content.array_records.values()))
    update = clipped(vector(answered) - vector(sent), longest)
    if multiple:
        update = update + multiple * longest * noise(len(update))
        for record in reply.content.metric_records.values():
            for metric in set(record) - {"num-examples"}:
                del record[metric]
    reply.content[name] = moved(sent, update)
    return reply


def signed(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """The reply with a signed manifest of the data beside it, where the node config names a key as `manifest-key`.

    It belongs around all that changes the update. Arrays that cannot be read, such as forged ones, go out unsigned.
    """
    path = key_file(context)
    key = private_key(path) if path else None
    reply = call_next(message, context)
    if key is None or reply.has_error() or len(reply.content.array_records) != 1:
        return reply
    try:
        manifest = manifest_of(message, context, next(iter(reply.content.array_records.values())))
    except ValueError as error:
        if isinstance(error, HawthornError):
            raise
        log.warning("the reply goes out without a manifest, as its arrays cannot be read: %s", error)
        return reply
    reply.content[RECORD] = signature(manifest, key)
    return reply


def _attack(message: Message, reply: Message, recipe: Recipe, knowledge: Knowledge) -> None:
    """Put sent + attacked(update) into the reply."""
    sent = message.content.array_records["arrays"]
    start = vector(sent)
    rows, _ = recipe.attacked((vector(reply.content.array_records["arrays"]) - start)[np.newaxis], knowledge)
    reply.content["arrays"] = moved(sent, rows[0])
