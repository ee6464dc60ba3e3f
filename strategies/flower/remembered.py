"""What a wrapped strategy remembers from round to round, such as an optimizer's moments, as plain data and back."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import Strategy

ARRAYS = "flower's arrays"  # the key under which an ArrayRecord's numbers lie
KIND = "the strategy's class"  # the key that says whose memory it is

Attributes = Mapping[str, Any]


def attributes(strategy: Strategy) -> dict[str, Any]:
    """A strategy's attributes as they are now, those of one that it wraps in turn included.

    Of what is no plain data (functions, connections) this is the thing itself, of all else a copy.
    """
    return {
        name: attributes(value) if _is_wrapped(name, value) else _plain(value) if _is_plain(value) else value
        for name, value in vars(strategy).items()
    }


def remembered(strategy: Strategy, made: Attributes) -> dict[str, Any]:
    """All that its rounds have left in a strategy's attributes, which were `made` so.

    >>> from flwr.serverapp.strategy import FedAvg
    >>> strategy = FedAvg()
    >>> made = attributes(strategy)
    >>> remembered(strategy, made)
    {}
    """
    memory: dict[str, Any] = {}
    for name, value in vars(strategy).items():
        if _is_wrapped(name, value):
            memory |= {name: inner} if (inner := remembered(value, made.get(name) or {})) else {}
        elif _is_plain(value) and not _is_as_made(name, value, made):
            memory[name] = _plain(value)
    return {KIND: type(strategy).__name__, **memory} if memory else {}


def not_remembered(strategy: Strategy, made: Attributes) -> Generator[str]:
    """The names of attributes that rounds have changed and that cannot be remembered: they are no plain data."""
    for name, value in vars(strategy).items():
        if _is_wrapped(name, value):
            yield from (f"{name}.{inner}" for inner in not_remembered(value, made.get(name) or {}))
        elif not _is_plain(value) and value is not made.get(name):
            yield name


def recall(strategy: Strategy, memory: Mapping[str, Any], made: Attributes) -> None:
    """Put back what `remembered` answered; all else that rounds have changed is as it was made.

    The memory of a strategy of another class is none.
    """
    if memory.get(KIND) not in (None, type(strategy).__name__):
        memory = {}
    for name, value in list(vars(strategy).items()):
        if _is_wrapped(name, value):
            recall(value, memory.get(name, {}), made.get(name) or {})
        elif _is_plain(value) and name not in made:
            delattr(strategy, name)
        elif _is_plain(value) and not _is_as_made(name, value, made):
            setattr(strategy, name, _restored(made[name]))
    for name, value in memory.items():
        if name != KIND and not _is_wrapped(name, getattr(strategy, name, None)):
            setattr(strategy, name, _restored(value))


def _is_wrapped(name: str, value: object) -> bool:
    return name == "strategy" and isinstance(value, Strategy)


def _is_as_made(name: str, value: object, made: Attributes) -> bool:
    return name in made and _same(_plain(value), made[name])


def _same(one: Any, other: Any) -> bool:
    """Whether two plain values are the same at any depth, types included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        mine, others = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return mine.keys() == others.keys() and all(_same(item, others[name]) for name, item in mine.items())
    if isinstance(one, list):
        mine, others = cast("list[Any]", one), cast("list[Any]", other)
        return len(mine) == len(others) and all(map(_same, mine, others))
    if isinstance(one, np.ndarray):
        return other.dtype == cast("Any", one).dtype and np.array_equal(cast("Any", one), other)
    return one == other


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping) and not isinstance(value, ArrayRecord):
        items = cast("Mapping[object, object]", value)
        return all(isinstance(key, str) and _is_plain(item) for key, item in items.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, cast("list[object]", value)))
    return value is None or isinstance(value, bool | int | float | str | np.ndarray | np.generic | ArrayRecord)


def _plain(value: Any) -> Any:
    if isinstance(value, ArrayRecord):
        return {ARRAYS: {name: array.numpy() for name, array in value.items()}}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, np.ndarray):
        return cast("Any", value).copy()  # optimizers work in place
    return np.asarray(cast("Any", value)) if isinstance(value, np.generic) else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        if set(items) == {ARRAYS}:
            return ArrayRecord({name: Array(np.asarray(array)) for name, array in items[ARRAYS].items()})
        return {name: _restored(item) for name, item in items.items()}
    if isinstance(value, list):
        return [_restored(item) for item in cast("list[Any]", value)]
    return value.copy() if isinstance(value, np.ndarray) else value  # pyright: ignore[reportUnknownVariableType]
