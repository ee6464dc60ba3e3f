"""The page of a client's story: what happened in words, and how its updates looked over the rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from importlib.metadata import version

from hawthorn.server.audit.explaining import Appearance, Story, strength

from ..page import Cell, card, page, table
from ..plots import Plot, layout
from .terminal import printable, shown

COLORS = {"accepted": "var(--honest)", "rejected": "var(--hostile)"}
Places = list[tuple[int, "Appearance | None"]]
STRONGEST = 1e6  # a p-value of 0 has no place on a logarithmic axis
LEAST_P = 1e-30


def html(story: Story) -> str:
    """The page. Everything it shows is in it; it loads nothing."""
    first, *rest = story.summary
    title = f"Client {printable(story.client.name or story.client.identity)}"
    drawn = plots(story)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{_sentence(first)} {' '.join(map(_sentence, rest))}</p>",
        _settings(story),
        _events(story),
        _pictures(story, drawn) if drawn else "",
        _rounds(story),
    ]
    return page(f"Hawthorn: {title}", "".join(parts), drawn, f"hawthorn {version('hawthorn')}")


def plots(story: Story) -> dict[str, Plot]:
    """Every plot by its name; none where nothing of the client was ever judged."""
    if not any(one.contribution.admitted for one in story.appearances):
        return {}
    judged = _with_gaps(story)
    rounds = [number for number, _ in judged]

    def values(found: Callable[[Appearance], float]) -> list[float | None]:
        return [None if one is None else _plain(found(one)) for _, one in judged]

    drawn = {
        "strength": _over(
            judged,
            values(lambda one: min(strength(one.contribution.verdict.p_value), STRONGEST)),
            "above the others",
            bound=story.strength,
        ),
        "p-values": _over(
            judged, values(lambda one: max(one.contribution.verdict.p_value, LEAST_P)), "p", bound=story.rate, log=True
        ),
        "cosine": _over(
            judged, values(lambda one: one.looks.cosine), "cosine", usual=values(lambda one: one.looks.usual_cosine)
        ),
        "length": _over(judged, values(lambda one: one.looks.length), "length", usual=[1.0 for _ in rounds], log=True),
    }
    for name in score_names(story):
        drawn[f"score-{name}"] = _over(
            judged,
            values(lambda one, name=name: one.contribution.verdict.scores.get(name, math.nan)),
            name,
            usual=values(lambda one, name=name: one.usual.get(name, math.nan)),
        )
    return drawn


def _with_gaps(story: Story) -> Places:
    """The rounds in which something of the client was judged, and one without it where others lie between."""
    found: Places = []
    for one in story.appearances:
        if not one.contribution.admitted:
            continue
        if found and found[-1][0] < one.round - 1:
            found.append((found[-1][0] + 1, None))
        found.append((one.round, one))
    return found


def score_names(story: Story) -> list[str]:
    """The scores that the client ever had, in their order."""
    return list(dict.fromkeys(name for one in story.appearances for name in one.contribution.verdict.scores))


def _over(
    places: Places,
    values: Sequence[float | None],
    name: str,
    *,
    usual: Sequence[float | None] | None = None,
    bound: float | None = None,
    log: bool = False,
) -> Plot:
    """A value over rounds, with that of the others or the bound beyond which a client is rejected."""
    rounds = [number for number, _ in places]
    words = ["accepted" if one is None else one.word for _, one in places]
    lines: list[Plot] = []
    if usual is not None:
        lines.append(_line(rounds, usual, "the others", "var(--soft)", "dot"))
    if bound is not None and rounds:
        ends = [rounds[0], max(rounds[-1], rounds[0] + 1)]
        lines.append(_line(ends, [bound, bound], "rejected from here on", "var(--hostile)", "dash"))
    lines.append(
        {
            **_line(rounds, values, name, "var(--honest)", "solid"),
            "mode": "lines+markers",
            "connectgaps": False,  # rounds between, in which it sent nothing, have no value
            "marker": {"color": [COLORS[word] for word in words], "size": 8},
            "text": words,
            "hovertemplate": "round %{x}: %{y:.4g}, %{text}<extra></extra>",
        }
    )
    axis: Plot = {"type": "log", "tickformat": "~g"} if log else {"tickformat": "~g"}
    return {"data": lines, "layout": layout(240, yaxis=axis, hovermode="closest", showlegend=False)}


def _line(x: Sequence[float], y: Sequence[float | None], name: str, color: str, dash: str) -> Plot:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(x),
        "y": list(y),
        "name": escape(name),
        "line": {"color": color, "dash": dash, "width": 1.6},
        "hovertemplate": f"{escape(name)}: %{{y:.4g}}<extra></extra>",
    }


def _plain(value: float) -> float | None:
    """The number, or None where JSON has none for it."""
    return value if math.isfinite(value) else None


def _sentence(text: str) -> str:
    return escape(printable(f"{text[0].upper()}{text[1:]}."))


def _settings(story: Story) -> str:
    told = {
        "identity": story.client.identity,
        "node": story.client.node,
        "run": f"{story.run.id}, {story.run.name}" if story.run.name else str(story.run.id),
        "defense": str(story.run.settings.get("defense", "")),
        "last seen": f"round {story.client.last_round}",
    }
    return (
        '<dl class="settings">'
        + "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(printable(value))}</dd></div>"
            for name, value in told.items()
            if value
        )
        + "</dl>"
    )


def _events(story: Story) -> str:
    rows: list[tuple[str, list[Cell]]] = []
    for event in story.events:
        when = f"after {event.round}" if event.kind == "order" else str(event.round)
        kind = "hostile" if event.kind in ("rejected", "refused", "rolled back") else ""
        rows.append(("", [(when, "number"), (escape(event.kind), f"name {kind}"), (escape(printable(event.text)), "")]))
    heads = [("round", "number"), ("what", ""), ("", "")]
    return f'<h2>What happened</h2><div class="scroll">{table(heads, rows)}</div>'


def _pictures(story: Story, drawn: dict[str, Plot]) -> str:
    spans = "".join(
        f'<span style="--of: {color}">{escape(name)}</span>'
        for name, color in {**COLORS, "the others": "var(--soft)"}.items()
    )
    key = f'<div class="key">{spans}</div>'
    scores = "".join(card(f"Score: {name}", f"score-{name}") for name in score_names(story) if f"score-{name}" in drawn)
    return f"""<h2>Its updates over the rounds</h2>
<p class="soft">Dots are rounds that it took part in. The dashed line is where a rejection begins; the dotted one is
what the median client has.</p>
{key}
<div class="figures pairs">
{card("How far it stood out, in robust deviations", "strength")}
{card("p-value: how often an honest client looks like this or worse", "p-values")}
{card("Cosine to the mean of the other accepted updates", "cosine")}
{card("Length, in lengths of the median update", "length")}
{scores}
</div>"""


def _rounds(story: Story) -> str:
    names = score_names(story)
    heads = [("round", "number"), ("verdict", ""), ("p", "number"), ("weight", "number"), ("length", "number")]
    heads += [("cosine", "number"), *((name, "number") for name in names), ("standing", "")]
    rows: list[tuple[str, list[Cell]]] = []
    for one in story.appearances:
        verdict = one.contribution.verdict
        figures = [verdict.p_value, verdict.weight, one.looks.length, one.looks.cosine]
        figures += [verdict.scores.get(name, math.nan) for name in names]
        kind = "" if one.word == "accepted" else "hostile"
        cells: list[Cell] = [(str(one.round), "number"), (one.word, kind)]
        cells += [(shown(value), "number") for value in figures]
        rows.append(("", [*cells, (escape(printable(verdict.standing)), "")]))
    return f'<h2>Round by round</h2><div class="scroll kept">{table(heads, rows)}</div>'
