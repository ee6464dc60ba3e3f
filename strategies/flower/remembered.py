"""What a wrapped strategy remembers from round to round, such as an optimizer's moments, as plain data and back."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import Strategy

ARRAYS = "flower's arrays"  # the key under which an ArrayRecord's numbers lie


def remembered(strategy: Strategy) -> dict[str, Any]:
    """All that its rounds have left in a strategy's attributes, those of one that it wraps in turn included.

    What the strategy was made with is not memory, and what is no plain data (functions, connections) cannot be kept.

    >>> from flwr.serverapp.strategy import FedAvg
    >>> remembered(FedAvg())
    {}
    """
    memory: dict[str, Any] = {}
    made_with = _made_with(type(strategy))
    for name, value in vars(strategy).items():
        if name == "strategy" and isinstance(value, Strategy):
            memory[name] = remembered(value)
        elif name not in made_with and value is not None and _is_plain(value):
            memory[name] = _plain(value)
    return memory


def recall(strategy: Strategy, memory: Mapping[str, Any]) -> None:
    """Put back what `remembered` answered; what was None then is None again."""
    made_with = _made_with(type(strategy))
    for name, value in list(vars(strategy).items()):
        if name == "strategy" and isinstance(value, Strategy):
            recall(value, memory.get(name, {}))
        elif name not in made_with and (name in memory or _is_plain(value)):
            setattr(strategy, name, _restored(memory[name]) if name in memory else None)


def _made_with(kind: type) -> set[str]:
    """The names of the arguments that a class and those it inherits from are made with."""
    return {name for one in kind.__mro__[:-1] for name in inspect.signature(one.__init__).parameters}


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
