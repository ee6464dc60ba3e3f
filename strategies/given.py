"""What a part may ask for besides the rows: keyword-only arguments that the caller supplies and no recipe writes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Columns, layer_bounds
from .errors import OptionError, SettingError, UpdateError
from .geometry import Floats, Geometry
from .past import Past, geometry_of
from .rows import Rows
from .weights import client_weights

BESIDE = ("center", "trusted", "model")
"""One more row that a part may be given: the update of the round before, one of the server's own, the model sent."""
ASKED = frozenset({*BESIDE, "columns", "sums", "past", "memory", "clients", "rng", "weights"})
UNMIXED = ("columns", "past")  # what mixed rows do not have


def asked(function: Callable[..., Any]) -> frozenset[str]:
    """What a function asks for: those of its keyword-only arguments that are no options."""
    parameters = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name in ASKED)


@dataclass(frozen=True, eq=False)
class Given:
    """What the parts of one round are given if they ask for it, in canonical order; None where there is none.

    `center`, `trusted` and `model` are geometries of the n rows and, last, of that one; `sums` is the geometry of n
    rows, each client's updates added up. `weights` `(n,)` are None too where all are equal.
    """

    center: Geometry | None = None
    trusted: Geometry | None = None
    model: Geometry | None = None
    columns: Columns | None = None
    sums: Geometry | None = None
    past: Past | None = None
    clients: tuple[str, ...] | None = None
    weights: Floats | None = None

    def to(self, asking: frozenset[str], memory: object, rng: np.random.Generator | None) -> dict[str, Any]:
        """The arguments of a function that asks for these."""
        whole = {field.name: getattr(self, field.name) for field in fields(self)} | {"memory": memory, "rng": rng}
        return {name: whole[name] for name in asking}

    def take(self, kept: NDArray[np.bool_]) -> Given:
        """What is given of some of the rows."""
        and_last = np.append(kept, True)
        return Given(
            **{name: row and row.take(and_last) for name in BESIDE for row in [getattr(self, name)]},
            columns=self.columns and self.columns.take(kept),
            sums=self.sums and self.sums.take(kept),
            past=self.past and self.past.take(kept),
            clients=self.clients and tuple(np.array(self.clients, object)[kept].tolist()),
            weights=None if self.weights is None else client_weights(self.weights[kept], int(kept.sum())),
        )

    def mixed(self, mixing: Floats) -> Given:
        """What is given of the rows `mixing @ rows`; whose they are is known where there are as many as before."""
        m, n = mixing.shape
        whole = np.pad(mixing, ((0, 1), (0, 1)))
        whole[-1, -1] = 1.0  # the one more row stays as it is
        return Given(
            **{name: row and row.mixed(whole) for name in BESIDE for row in [getattr(self, name)]},
            sums=self.sums and self.sums.mixed(mixing),
            clients=self.clients if m == n else None,
            weights=self.weights,  # nobody mixes rows that have some
        )


def identities(clients: Sequence[object]) -> list[str]:
    """The clients' names as text, which is how a saved state remembers them; raises `UpdateError`."""
    names = [str(client) for client in clients]
    if len(set(names)) != len(names):
        raise UpdateError("clients must differ from each other, got one name twice")
    return names


def generator(name: str, rng: object) -> np.random.Generator | None:
    """`rng` itself, if it is a generator or None; raises `OptionError`."""
    if rng is None or isinstance(rng, np.random.Generator):
        return rng
    raise OptionError(f"{name} needs rng=numpy.random.default_rng(...), got {rng!r}")


def of_call(
    name: str, asking: frozenset[str], rows: Rows, geometry: Geometry | None, options: MutableMapping[str, Any]
) -> tuple[Given, Any]:
    """What a part is given in a call with updates, from the options that are no options; and the one more row `(d,)`.

    Takes them out of `options`. Without `sums`, the rows are the sums.
    """
    found: dict[str, Any] = {}
    row: Any = None
    for beside in asking.intersection(BESIDE):
        row = options.pop(beside, None)
        if row is not None:
            row = rows.vector(row, f"the {beside} of {name}")
            found[beside] = measured(geometry, rows).followed_by(rows, row)
    if "columns" in asking:
        if "columns" in options:
            raise OptionError(f"write {name}(..., bounds=...) with the layers' bounds, instead of columns")
        bounds = options.pop("bounds", None)
        found["columns"] = Columns(rows, layer_bounds(bounds, int(rows.data.shape[1])))
    if "sums" in asking:
        sums = options.pop("sums", None)
        found["sums"] = measured(geometry, rows) if sums is None else _alike(f"sums of {name}", sums, rows)
    if "past" in asking:
        found["past"] = _past(name, options.pop("past", None), rows)
    if "clients" in asking:
        clients = options.pop("clients", None)
        found["clients"] = clients and tuple(clients[place] for place in map(int, rows.order))
    weights = options.pop("weights", None) if "weights" in asking else None
    if weights is not None:
        found["weights"] = client_weights(np.asarray(weights)[rows.order], rows.n)
    return Given(**found), row


def measured(geometry: Geometry | None, rows: Rows) -> Geometry:
    """The geometry of the rows, measured now if it was not before."""
    return Geometry.measured(rows) if geometry is None else geometry


def _alike(name: str, updates: object, rows: Rows) -> Geometry:
    """The geometry of other updates of the same clients, in the rows' canonical order."""
    others = Rows.of(updates)
    if others.data.shape != rows.data.shape:
        raise UpdateError(f"{name} must be of shape {tuple(rows.data.shape)}, got {tuple(others.data.shape)}")
    return Geometry.measured(replace(others, order=rows.order))


def _past(name: str, past: Any, rows: Rows) -> Past | None:
    """The past from the rows that clients sent in the round before, `(n, d)`, and the moves `(k, d)`, newest first."""
    if past is None:
        return None
    last, moves = (np.asarray(part, np.float64) for part in past)
    if last.shape != tuple(rows.data.shape) or moves.ndim != 2 or moves.shape[1:] != last.shape[1:]:
        raise UpdateError(f"the past of {name} must be rows {tuple(rows.data.shape)} and moves, got {last.shape}")
    return Past.of(rows, list(last[rows.order]), list(moves), [1] * len(last))


def placed(name: str, asking: frozenset[str], geometry: Geometry, options: MutableMapping[str, Any]) -> Given:
    """What a part is given in a call with a geometry in the caller's order; takes it out of `options`."""
    found: dict[str, Any] = {}
    order = np.argsort(geometry.rank)
    for beside in asking.intersection(BESIDE):
        row = options.pop(beside, None)
        if row is not None:
            if not isinstance(row, Geometry) or row.n != geometry.n + 1:
                raise SettingError(f"{beside} must be the geometry of the {geometry.n} rows and, last, one more")
            found[beside] = row.take(np.append(order, geometry.n))
    if "columns" in asking:
        found["columns"] = options.pop("columns", None)
    if "sums" in asking:
        sums = options.pop("sums", None)
        found["sums"] = (geometry if sums is None else sums).take(order)
    if "past" in asking:
        past = options.pop("past", None)
        found["past"] = past and past.take(order)
    if "clients" in asking:
        clients = options.pop("clients", None)
        found["clients"] = clients and tuple(clients[place] for place in map(int, order))
    weights = options.pop("weights", None) if "weights" in asking else None
    if weights is not None:
        client_weights(weights, geometry.n)
        found["weights"] = client_weights(np.asarray(weights)[order], geometry.n)
    return Given(**found)


def trial(n: int) -> Given:
    """Something of everything, all of it zero, for `n` rows: what a part is tried on."""
    one_more = Geometry(np.zeros((n + 1, n + 1)), np.zeros((n + 1, n + 1)), np.ones(n + 1), np.arange(n + 1))
    rows = Rows.of(np.zeros((n, 0)))
    return Given(
        center=one_more,
        trusted=one_more,
        model=one_more,
        columns=Columns(rows, layer_bounds(None, 0)),
        sums=one_more.take(np.arange(n)),
        past=Past(geometry_of([np.zeros(0)] * (2 * n + 1)), np.ones(n, np.int64)),
        clients=tuple(map(str, range(n))),
    )
