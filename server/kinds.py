"""What a setting must be: in words for the message, and as the reader that finds out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

from hawthorn.strategies.contract import Call, tolerance

Scalar = bool | int | float | str


@dataclass(frozen=True)
class Kind:
    """What a setting must be, in words; `read` gives the value, or raises `ValueError` for anything else."""

    words: str
    read: Callable[[object], Scalar]


def whole(*, least: int) -> Kind:
    """A whole number of at least `least`."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError
        return value

    return Kind(f"a whole number of at least {least}", read)


def number(*, least: float, most: float = math.inf, above: bool = False) -> Kind:
    """A finite number from `least` to `most`; greater than `least` if `above`."""
    words = f"a number {'above' if above else 'of at least'} {least:g}"
    if most < math.inf:
        words += f", at most {most:g}"

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError
        if value < least or value > most or (above and value == least):
            raise ValueError
        return float(value)

    return Kind(words, read)


def text(words: str, check: Callable[[str], object] = str, *, empty: bool = False) -> Kind:
    """Text that `check` accepts; if `check` raises a `SettingError`, its words are passed on."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not (empty or value.strip()):
            raise ValueError
        if value.strip():
            check(value.strip())
        return value.strip()

    return Kind(f"{words}, or empty" if empty else words, read)


def count_or_share() -> Kind:
    """A count of clients, or a share of them, written as text or as a number; kept as text."""

    def read(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        tolerated(str(value))
        return str(value).strip()

    return Kind("a count such as 3, or a share below 0.5 such as 0.2", read)


def count_or_part() -> Kind:
    """A count of clients, or a share of them below 1, written as text or as a number; kept as a number."""

    def read(value: object) -> int | float:
        number = value
        if isinstance(value, str):
            number = int(value) if value.strip().isdecimal() else float(value)
        if isinstance(number, bool) or not isinstance(number, int | float) or number < 0:
            raise ValueError
        if isinstance(number, float) and not number < 1:
            raise ValueError
        return number

    return Kind("a count such as 3, or a share below 1 such as 0.3", read)


def yes_or_no() -> Kind:
    """True or False."""

    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    return Kind("true or false", read)


def rounds_kept(written: str) -> str | int:
    """How many rounds are kept: "none", "all" or a number; raises `ValueError`.

    >>> rounds_kept("all"), rounds_kept("50")
    ('all', 50)
    """
    if written in ("none", "all"):
        return written
    number = int(written)
    if number < 1:
        raise ValueError
    return number


def quorum_of(written: str) -> int | float:
    """The count or the share that is written; raises `ValueError`.

    >>> quorum_of("8"), quorum_of("0.8")
    (8, 0.8)
    """
    number = int(written) if written.isdecimal() else float(written)
    if number <= 0 or (isinstance(number, float) and number > 1):
        raise ValueError
    return number


def vetting_of(written: str) -> str:
    """How clients vet their data, as written; raises `ValueError` unless it is a call of a known action."""
    if Call.parse(written).name not in ("report", "warn", "drop"):
        raise ValueError
    return written


def tolerated(written: str) -> int | float:
    """The count or the share that is written; raises `ValueError`.

    >>> tolerated("3"), tolerated("0.2")
    (3, 0.2)
    """
    return tolerance(int(written) if written.strip().isdecimal() else float(written))


def examples(written: str) -> None:
    """Raise `ValueError` unless this is the one thing that weighs clients."""
    if written != "examples":
        raise ValueError


def writable_directory(written: str) -> None:
    """Raise `ValueError` unless this is a directory that can be written to."""
    if not (os.path.isdir(written) and os.access(written, os.W_OK)):
        raise ValueError


def function_name(written: str) -> None:
    """Raise `ValueError` unless this is written like the import path of a function."""
    module, _, name = written.partition(":")
    if not all(part.isidentifier() for part in [name, *module.split(".")]):
        raise ValueError
