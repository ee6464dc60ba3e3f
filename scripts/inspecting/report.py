"""The page of an inspection: who was rejected and why, and the geometry to judge it by."""

from __future__ import annotations

from html import escape
from importlib.metadata import version

from ..page import Cell, card, page, table
from .inspection import Inspection
from .plots import COLORS, MOST_CLIENTS, plots
from .view import absent, figure, plain, repeated, summary, told_past

KEY = {"accepted": "accepted", "unused": "accepted, left out by the rule", "rejected": "rejected"}
LONGEST_NAME = 24  # characters, so that figures have room beside it on a phone
CLASSES = {"accepted": "", "unused": "soft", "rejected": "hostile"}


def html(inspection: Inspection) -> str:
    """The page. Everything it shows is in it; it loads nothing."""
    last = inspection.last
    title = f"Inspection{f' of {last}' if last else ''}"
    first, *rest = summary(inspection)
    answer = first[0].upper() + first[1:] + "".join(f"; {one}" for one in rest)
    drawn = plots(inspection)
    parts = [
        f"<h1>{escape(plain(title))}</h1>",
        f'<p class="{"stopped" if inspection.skipped else ""}">{escape(plain(answer))}.</p>',
        f'<dl class="settings">{_settings(inspection)}</dl>',
        _clients(inspection),
        _reasons(inspection),
        _refused(inspection),
        _absent(inspection),
        _pictures(inspection) if drawn else "",
    ]
    return page(f"Hawthorn: {plain(title)}", "".join(parts), drawn, f"hawthorn {version('hawthorn')}")


def _settings(inspection: Inspection) -> str:
    return "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(plain(str(value)))}</dd></div>"
        for name, value in {"defense": inspection.defense, **inspection.settings}.items()
        if value not in (None, "")
    )


def _clients(inspection: Inspection) -> str:
    if not inspection.clients:
        return ""
    scores = list(inspection.clients[0].verdict.scores)
    several = repeated(inspection)
    numbers = [
        "p-value",
        "weight",
        "length",
        *(f"score: {name}" for name in scores),
        *(["rejected"] if several else []),
    ]
    heads = [("client", ""), ("verdict", ""), *((name, "number") for name in numbers)]
    rows: list[tuple[str, list[Cell]]] = []
    for place, client in enumerate(inspection.clients):
        verdict = client.verdict
        figures = map(figure, (verdict.p_value, verdict.weight, client.length, *verdict.scores.values()))
        cells: list[Cell] = [(_name(client.name), "name"), (client.word, CLASSES[client.word])]
        cells += [(one, "number") for one in (*figures, *([several[place]] if several else []))]
        rows.append(("", cells))
    counted = " Rejections are counted over the rounds." if several else ""
    return f"""<h2>Clients</h2>
<p class="soft">Scores are higher for more anomalous clients. The p-value says how often an honest client would look
like this or worse.{counted}</p>
<div class="scroll kept">{table(heads, rows)}</div>"""


def _reasons(inspection: Inspection) -> str:
    rows: list[tuple[str, list[Cell]]] = [
        ("", [(_name(client.name), "name"), (escape(plain(client.verdict.reason)), "")])
        for client in inspection.clients
        if client.verdict.reason
    ]
    return f'<h2>Reasons</h2><div class="scroll">{table([("client", ""), ("reason", "")], rows)}</div>' if rows else ""


def _refused(inspection: Inspection) -> str:
    if not inspection.refused:
        return ""
    rows: list[tuple[str, list[Cell]]] = [
        ("", [(_name(name), "name"), (escape(plain(reason)), "")]) for name, reason in inspection.refused.items()
    ]
    return f"""<h2>Refused</h2>
<p class="soft">Files that cannot be used, and have no part in anything else here.</p>
<div class="scroll">{table([("client", ""), ("reason", "")], rows)}</div>"""


def _absent(inspection: Inspection) -> str:
    rows: list[tuple[str, list[Cell]]] = [
        ("", [(_name(name), "name"), (escape(told_past(inspection, name)), "number")]) for name in absent(inspection)
    ]
    if not rows:
        return ""
    heads = [("client", ""), ("rejected", "number")]
    return f'<h2>Not in the last round</h2><div class="scroll">{table(heads, rows)}</div>'


def _pictures(inspection: Inspection) -> str:
    found = {client.word for client in inspection.clients}
    spans = (f'<span style="--of: {COLORS[one]}">{told}</span>' for one, told in KEY.items() if one in found)
    key = f'<div class="key">{"".join(spans)}</div>'
    n = len(inspection.names)
    part = f" Of {n} clients the {MOST_CLIENTS} with the least p-values are shown." if n > MOST_CLIENTS else ""
    return f"""<h2>Geometry</h2>
<p class="soft">Updates as they were sent, before anything was done about them; ● rejected.{part}</p>
{card("Who is alike: cosines between clients", "cosines")}
<p class="soft">Those alike stand beside each other. A block that is much alike may be clients that act together.</p>
{card("Clients in the plane", "plane", key)}
<p class="soft">Distances resemble those of the updates; one unit is the usual distance from the client in the middle.
An open mark lies farther out than is drawn: clients beyond three units are drawn there, in their own direction.</p>
{card("Lengths", "lengths", key)}"""


def _name(name: str) -> str:
    """A name on one line, cut where it is very long; pointing at it tells the whole."""
    name = plain(name)
    if len(name) <= LONGEST_NAME:
        return escape(name)
    cut = f"{name[: LONGEST_NAME // 2]}…{name[-LONGEST_NAME // 2 + 1 :]}"
    return f'<span title="{escape(name)}">{escape(cut)}</span>'
