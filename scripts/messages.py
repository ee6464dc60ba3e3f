"""What the Operator service says, as tables, as lines and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .audit import Lines, add_row, made_table, plain, printable, shown

if TYPE_CHECKING:
    from hawthorn.server.control import hawthorn_pb2 as pb


def client_table(clients: Sequence[pb.Client]) -> Lines:
    """One line per client, and below them why it was turned down last."""
    table = made_table(
        "client", "name", "rounds", "accepted", "rejected", "refused", "evidence", "standing", folded=("name",)
    )
    for one in clients:
        words = "kept out by an operator" if one.held else one.standing.words or "good"
        counts = (one.rounds, one.accepted, one.rejected, one.refused, shown(one.standing.evidence))
        add_row(table, one.identity, one.name, *counts, words)
    return Lines(table, [f"{one.name or one.identity}: {one.last_reason}" for one in clients if one.last_reason])


def verdict_table(verdicts: Sequence[pb.Verdict]) -> Lines:
    """One line per reply of a client, and below them the reasons."""
    table = made_table("round", "verdict", "weight", "p", "standing", folded=("standing",))
    for one in verdicts:
        add_row(table, one.round, verdict_word(one), shown(one.weight), shown(one.p_value), one.standing)
    return Lines(table, [f"round {one.round}: {one.reason}" for one in verdicts if one.reason])


def verdict_word(verdict: pb.Verdict) -> str:
    """What became of an update, in a word."""
    return "refused" if not verdict.admitted else "accepted" if verdict.accepted else "rejected"


def round_words(one: pb.Round) -> str:
    """A round in a line."""
    told = f"round {one.number}: {one.accepted} accepted, {one.rejected} rejected, {one.refused} refused"
    metrics = [f"{name} {shown(list(one.metrics[name].values))}" for name in sorted(one.metrics)]
    told += "".join(f", {metric}" for metric in metrics)
    return f"{told}; skipped: {one.skipped}" if one.skipped else told


def news_words(news: pb.News) -> list[str]:
    """An entry of the audit in lines."""
    if news.HasField("held"):
        turned_down = [one for one in news.verdicts if not one.accepted]
        lines = [f"  {one.name or one.client} {verdict_word(one)}: {one.reason}" for one in turned_down]
        return [round_words(news.held), *lines]
    lines = [
        f"  order {one.id}, {' '.join(filter(None, [one.kind, one.client, 'by', one.by]))}: "
        f"{one.failure or 'carried out'}"
        for one in news.orders
    ]
    return [f"{news.kind}, after round {news.round}", *lines]


def document(message: Any) -> Any:
    """A message as plain data without NaN, every field that has a value or a default included."""
    from google.protobuf.json_format import MessageToDict

    numbers = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return plain(_numbers(message.DESCRIPTOR, numbers))


def _numbers(descriptor: Any, value: dict[str, Any]) -> dict[str, Any]:
    """The data with whole numbers and NaN as such, which protobuf's JSON writes as text."""
    for field in descriptor.fields:
        if field.name not in value:
            continue
        found = value[field.name]
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"]
            value[field.name] = {key: _number(inner, item) for key, item in found.items()}
        elif isinstance(found, list):
            value[field.name] = [_number(field, item) for item in found]  # pyright: ignore[reportUnknownVariableType]
        else:
            value[field.name] = _number(field, found)
    return value


def _number(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _numbers(field.message_type, value)
    if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
        return int(value)
    return float(value) if field.cpp_type == field.CPPTYPE_DOUBLE else value


def print_json(content: object) -> None:
    """Print a document to standard output."""
    json.dump(content, sys.stdout, indent=2, allow_nan=False)
    print()


def print_lines(lines: Sequence[str]) -> None:
    """Print lines of which clients may have written parts."""
    for line in lines:
        print(printable(line), flush=True)
