"""What both the terminal and the page say of an inspection, in words."""

from __future__ import annotations

import re

from .inspection import Inspection

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    r"""Text from a file or its name without what could move a terminal's cursor or turn a line's direction.

    >>> plain("client\x1b[2J")
    'client\\x1b[2J'
    """
    return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


def figure(value: float) -> str:
    """A number as tables show it.

    >>> figure(0.123456), figure(1234567.0), figure(0.0)
    ('0.123', '1.23e+06', '0')
    """
    return f"{value:.3g}"


def summary(inspection: Inspection) -> list[str]:
    """What came of it, a sentence each."""
    n = len(inspection.names)
    words = [client.word for client in inspection.clients]
    rejected, unused = words.count("rejected"), words.count("unused")
    told = [
        f"{rejected} of {n} {'client' if n == 1 else 'clients'} rejected, at most {inspection.f} expected to be hostile"
    ]
    if unused:
        told.append(f"{unused} accepted and left out by the rule")
    if inspection.refused:
        told.append(f"{len(inspection.refused)} {'file' if len(inspection.refused) == 1 else 'files'} refused")
    length = inspection.update_length
    told.append(f"no update: {inspection.skipped}" if length is None else f"the update has length {figure(length)}")
    return told


def repeated(inspection: Inspection) -> list[str]:
    """How often each client was rejected over the rounds, in the order of the names; empty for one round."""
    if len(inspection.rounds) < 2:
        return []
    return [told_past(inspection, name) for name in inspection.names]


def told_past(inspection: Inspection, name: str) -> str:
    """How often a client was rejected, of how many rounds that it was in.

    A file that could not be used is told as well.
    """
    past = inspection.past[name]
    refused = f", {past.refused} refused" if past.refused else ""
    return f"{past.rejected} of {past.seen}{refused}"


def absent(inspection: Inspection) -> list[str]:
    """The clients of earlier rounds that sent nothing in the last one."""
    present = {*inspection.names, *inspection.refused}
    return [name for name in inspection.past if name not in present]
