"""What a session of the Aggregation service is opened for: a defense, and the shape of its updates."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from grpc import StatusCode
from hawthorn.strategies import Defense, SettingError
from hawthorn.strategies.columns import layer_bounds
from hawthorn.strategies.contract import RULES, TRANSFORMS, Call, options_of
from hawthorn.strategies.defense import refuse_weights

from .hawthorn_pb2 import FLOAT16, FLOAT32, FLOAT64, OpenRequest
from .limits import Limits
from .refusal import Refusal

LONGEST_DEFENSE = 2000  # characters
NAMES_EACH, NAMES = 4, 100  # names that a session knows: so many for each client of a round, and these beside them
MOST_STEPS = 1000  # of any option that counts, such as iterations: a session's parts are tried when it is opened
DTYPES = {FLOAT32: "float32", FLOAT64: "float64", FLOAT16: "float16"}


@dataclass(frozen=True)
class Plan:
    """What does not change during a session; two requests that mean the same make plans that compare equal."""

    defense: Defense
    dimension: int
    dtype: str
    clients: int
    weighted: bool
    bounds: tuple[int, ...]

    @classmethod
    def of(cls, request: OpenRequest, limits: Limits) -> Plan:
        """The plan of a request; raises `SettingError` for what cannot be, and `Refusal` for what is too large."""
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", request.session):
            raise SettingError(f"a session's name must be letters, digits, '.', '_' and '-', got {request.session!r}")
        if request.numbers not in DTYPES:
            raise SettingError("numbers must be FLOAT32, FLOAT64 or FLOAT16")
        if request.dimension < 1 or request.clients < 1:
            raise SettingError("dimension and clients must be at least 1")
        if request.clients > limits.clients:
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, f"this server takes {limits.clients} clients at most")
        _check_steps(request.defense)
        chosen = request.WhichOneof("tolerated")
        f = None if chosen is None else (request.count if chosen == "count" else request.share)
        written = "f" in [part.partition("=")[0].strip() for part in request.defense.split(";")[1:]]
        defense = Defense.parse(request.defense or Defense().rule, f=None if written else f)
        if request.weighted:
            refuse_weights(defense)
        bounds = tuple(request.bounds)
        if bounds:
            layer_bounds(bounds, request.dimension)
        plan = cls(defense, request.dimension, DTYPES[request.numbers], request.clients, request.weighted, bounds)
        if plan.room > limits.room:
            raise Refusal(
                StatusCode.RESOURCE_EXHAUSTED,
                f"{request.clients} updates of {request.dimension} numbers take {plan.room} bytes, and this server has "
                f"{limits.room}",
            )
        return plan

    @property
    def update_bytes(self) -> int:
        """The length of an update in bytes."""
        return self.dimension * np.dtype(self.dtype).itemsize

    @property
    def names(self) -> int | None:
        """How many clients a session knows at most; None where it remembers no updates of theirs."""
        if self.defense.momentum or self.defense.asked & {"past", "sums"}:
            return NAMES_EACH * self.clients + NAMES
        return None

    @property
    def room(self) -> int:
        """The bytes that a session takes: its rows and their distances, rows of the server's own, the last answer."""
        asked = self.defense.asked
        rows = self.clients + 1 + len(asked & {"trusted", "model", "center"})
        kinds = bool(self.defense.momentum) + len(asked & {"past", "sums"})
        # what is remembered of each client, and what a round puts in its place; no shorter than float32
        remembered = kinds * ((self.names or 0) + self.clients) * max(self.update_bytes, 4 * self.dimension)
        return rows * self.update_bytes + remembered + 16 * self.clients**2

    def __str__(self) -> str:
        return (
            f"{self.defense} | {self.dimension} {self.dtype} | {self.clients} | {self.weighted} | "
            f"{','.join(map(str, self.bounds))}"
        )


def _check_steps(defense: str) -> None:
    """Raise `SettingError` for a defense that would keep a core busy for long, before a part of it is made."""
    if len(defense) > LONGEST_DEFENSE:
        raise SettingError(f"a defense must be at most {LONGEST_DEFENSE} characters, got {len(defense)}")
    parts = {**RULES, **TRANSFORMS}
    for part in filter(None, defense.partition(";")[0].split("|")):
        call = Call.parse(part)
        known = options_of(parts[call.name].function) if call.name in parts else {}
        for option, value in call.options:
            if isinstance(known.get(option), int) and isinstance(value, int) and value > MOST_STEPS:
                raise SettingError(f"{call.name} takes at most {MOST_STEPS} {option} on this server, got {value}")
