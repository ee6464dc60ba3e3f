"""Figures over rounds, as one Plotly figure per measure whose lines are those of the attack that the reader chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean

from ..plots import Plot, layout
from .cell import Result
from .summary import FEDAVG
from .view import ORACLE, Federation

COLORS = 9  # of lines, as the page names them: var(--line-0) and so on
DASHES = ("solid", "dash", "dot")
FAINT = "28"  # opacity of bands, of ff
FEW = 12  # rounds that have a tick each

Values = list[float | None]


@dataclass(frozen=True)
class Curve:
    """What is drawn over rounds: a name in results, or the task's own figure, and what a stopped run has of it."""

    name: str | None
    rest: float | None

    def values(self, result: Result, count: int) -> Values:
        """The values of every evaluation; None where there is none."""
        found: Values = list(result["rounds"].get(self.name or result["figure"], ()))
        rest = self.rest if result["stopped"] else None
        return found + [rest] * (count - len(found))


FIGURE = Curve(None, rest=0.0)  # nothing is left of it once a run was stopped, which an attack may well wish for
SUCCESS = Curve("attack_success", rest=None)


def over_rounds(
    federation: Federation, names: Mapping[str, str], results: Mapping[str, Result], curve: Curve, chooser: str
) -> Plot:
    """A line for each defense and for the honest clients alone, with a band from the least seed to the greatest.

    The plot has lines without values; `choices` has the values of every line for each attack, in their order, or
    None where an attack has none at all. `chooser` is the id of the select; `results` are by the cells' keys.
    """
    rounds, every = (int(dict(federation.place)[name]) for name in ("rounds", "evaluate-every"))
    lines = looks(federation)
    banded = any(len(entry.keys) > 1 for entry in federation.entries.values())
    traces = [
        trace
        for defense, look in lines.items()
        for trace in _traces(names[defense], look, rounds // every, every, banded)
    ]
    choices: list[list[Values] | None] = []
    for attack in federation.attacks:
        found = {defense: [results[one] for one in _cells(federation, attack, defense)] for defense in lines}
        values = [each for one in found.values() for each in _values(one, curve, rounds // every, banded)]
        choices.append(values if any(value is not None for each in values for value in each) else None)
    # fixed, so that the axes stay where they are when another attack is chosen; and no ticks between rounds
    axis: Plot = {"title": {"text": "round"}, "showgrid": False, "range": [0.5, rounds + 0.5]}
    axis |= {"tickformat": "d"} | ({"dtick": 1} if rounds <= FEW else {})
    return {
        "data": traces,
        "choices": choices,
        "chooser": chooser,
        "layout": layout(
            380,
            xaxis=axis,
            yaxis={"tickformat": ".0%", "range": [-0.02, 1.02]},
            hovermode="x unified",
            showlegend=False,
        ),
    }


def looks(federation: Federation) -> dict[str, Plot]:
    """How the line of each defense looks, and last that of the honest clients alone."""
    found: dict[str, Plot] = {}
    defended = [defense for defense in federation.defenses if defense != FEDAVG]
    for place, defense in enumerate(defended):
        dash = DASHES[place // COLORS % len(DASHES)]
        found[defense] = {"color": f"var(--line-{place % COLORS})", "dash": dash, "width": 2}
    if FEDAVG in federation.defenses:
        found[FEDAVG] = {"color": "var(--hostile)", "width": 2}
    return found | {ORACLE: {"color": "var(--honest)", "dash": "dot", "width": 2}}


def key(federation: Federation, names: Mapping[str, str]) -> str:
    """The key of the lines."""
    spans = (
        f'<span class="{look.get("dash", "solid")}" style="--of: {look["color"]}">{escape(names[defense])}</span>'
        for defense, look in looks(federation).items()
    )
    return f'<div class="key lines">{"".join(spans)}</div>'


def _traces(name: str, look: Plot, count: int, every: int, banded: bool) -> list[Plot]:
    """A line, and before it the two sides of its band."""
    start = {"x0": every, "dx": every, "mode": "lines"}
    bare = start | {"line": {"width": 0}, "hoverinfo": "skip"}
    band = [bare, bare | {"fill": "tonexty", "fillcolor": f"{look['color']}{FAINT}"}]
    mode = "lines" if count > 1 else "markers"  # Plotly reads names as a kind of HTML
    shown = {"mode": mode, "name": escape(name), "line": look, "hovertemplate": "%{y:.1%}"}
    return [*(band if banded else []), start | shown]


def _values(found: Sequence[Result], curve: Curve, count: int, banded: bool) -> list[Values]:
    """The values of a line, in the order of its traces: least, greatest, mean."""
    columns = zip(*(curve.values(result, count) for result in found), strict=True)
    known = [[value for value in column if value is not None] for column in columns]

    def each(reduced: Callable[[list[float]], float]) -> Values:
        return [round(reduced(values), 4) if values else None for values in known]

    band: list[Values] = [each(min), each(max)] if len(found) > 1 else [[], []]
    return [*(band if banded else []), each(fmean)]


def _cells(federation: Federation, attack: str, defense: str) -> tuple[str, ...]:
    """The keys of the cells behind a line."""
    if defense != ORACLE:
        entry = federation.entries.get((attack, defense))
        return entry.keys if entry else ()
    beside = [entry.oracles for (other, _), entry in federation.entries.items() if other == attack]
    return max(beside, key=len, default=())
