"""The page of a calibration: false alarms beside what is stated, p-values, and who is caught; it loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from itertools import groupby

from ..evaluation.terminal import in_percent
from ..page import card, page
from ..plots import Plot, layout
from . import tables
from .alarms import CURVE, Alarms
from .calibration import Calibration
from .catching import TENTH, WINDOW, Catch
from .terminal import ABOVE, verdict

COLORS = 9  # of lines, as the page names them


def html(found: Calibration) -> str:
    """The page. Everything it shows is in it."""
    plots: dict[str, Plot] = {}
    sections: list[str] = []
    for place, (task, group) in enumerate(groupby(found.alarms, key=lambda one: one.group.task)):
        honest = list(group)
        plots[f"clients-{place}"] = clients(honest)
        plots[f"reliability-{place}"] = reliability(honest)
        sections.append(_honest(task, honest, place))
    for place, group in groupby(found.catches, key=lambda one: (one.group.task, one.group.scenario.text)):
        sections.append(_attacked(", ".join(place), list(group)))
    body = f"""<h1>How often verdicts are wrong</h1>
<p>{escape(verdict(found).capitalize())}.</p>
<dl class="settings">{_settings(found)}</dl>{_failed(found)}
{"".join(sections)}"""
    return page("Hawthorn: calibration", body, plots, f"hawthorn {version('hawthorn')}, {len(found.plan.cells)} runs")


def clients(found: Sequence[Alarms]) -> Plot:
    """How often each client was rejected, the most unlucky first: a line for each federation."""
    data = [
        {
            "x": [round((place + 1) / len(one.clients), 6) for place in range(len(one.clients))],
            "y": sorted((round(client.rate, 6) for client in one.clients), reverse=True),
            **_line(place, one),
        }
        for place, one in enumerate(found)
    ]
    hit = max(sum(client.rejected > 0 for client in one.clients) / len(one.clients) for one in found)
    return {
        "data": data + _stated(found),
        "layout": layout(
            320,
            xaxis={
                "tickformat": ".0%",
                "range": [0, min(1.0, hit + 0.1)],  # the others are never rejected
                "title": {"text": "share of the clients"},
                "showgrid": False,
            },
            yaxis={"tickformat": ".0%", "range": [-0.02, 1.02]},
            hovermode="closest",
            showlegend=False,
        ),
    }


def reliability(found: Sequence[Alarms]) -> Plot:
    """The share of p-values at or below each rate, a line for each federation; on the dotted one they are exact."""
    exact = {
        "x": [0, CURVE[-1]],
        "y": [0, CURVE[-1]],
        "mode": "lines",
        "line": {"color": "var(--soft)", "dash": "dot", "width": 1.5},
        "hoverinfo": "skip",
    }
    lines = [{"x": list(CURVE), "y": list(one.curve), **_line(place, one)} for place, one in enumerate(found)]
    most = max([CURVE[-1], *(share for one in found for share in one.curve)])
    return {
        "data": [exact, *lines],
        "layout": layout(
            320,
            xaxis={
                "tickformat": ".0%",
                "range": [0, CURVE[-1]],
                "title": {"text": "p-value at most"},
                "showgrid": False,
            },
            yaxis={"tickformat": ".0%", "range": [0, 1.05 * most]},
            hovermode="closest",
            showlegend=False,
        ),
    }


def _line(place: int, one: Alarms) -> Plot:
    name = escape(one.group.scenario.text)  # Plotly reads names as a kind of HTML
    return {
        "name": name,
        "mode": "lines",
        "line": {"color": f"var(--line-{place % COLORS})", "width": 2},
        "hovertemplate": f"%{{x:.1%}}: %{{y:.1%}}<extra>{name}</extra>",
    }


def _stated(found: Sequence[Alarms]) -> list[Plot]:
    """A dotted line at each rate that is stated."""
    return [
        {
            "x": [0, 1],
            "y": [rate, rate],
            "mode": "lines",
            "line": {"color": "var(--soft)", "dash": "dot", "width": 1.5},
            "hoverinfo": "skip",
        }
        for rate in dict.fromkeys(one.stated for one in found if one.stated is not None)
    ]


def _key(found: Sequence[Alarms], dotted: str) -> str:
    spans = [
        f'<span style="--of: var(--line-{place % COLORS})">{escape(one.group.scenario.text)}</span>'
        for place, one in enumerate(found)
    ]
    return f'<div class="key lines">{"".join(spans)}<span style="--of: var(--soft)">{dotted}</span></div>'


def _settings(found: Calibration) -> str:
    plan = found.plan
    defenses = dict.fromkeys(str(one.group.settings.recipe) for one in found.alarms)
    told: dict[str, object] = {
        "defense": " / ".join(defenses),
        **{name: plan.values[name] for name in ("clients", "tolerated", "rounds")},
        "seeds": plan.seeds,
        **({"seeds under attack": plan.attack_seeds} if found.catches else {}),
    }
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in told.items())


def _failed(found: Calibration) -> str:
    told = (
        f"{cell.settings.task}, {cell.settings.partition}, {cell.settings.attack or 'no attack'}, "
        f"seed {cell.settings.seed} failed: {found.failed[cell.key]}"
        for cell in found.plan.cells
        if cell.key in found.failed
    )
    return "".join(f'<p class="stopped">{escape(line)}</p>' for line in told)


def _honest(task: str, found: Sequence[Alarms], place: int) -> str:
    told = " and ".join(dict.fromkeys(f"{in_percent(one.stated)} %" for one in found if one.stated is not None))
    dotted = f"stated: {told}" if told else "no rate is stated"
    return f"""<h2>{escape(task)}: nobody attacks</h2>
<p class="soft">Whoever is rejected here is honest. Intervals hold in 95 of 100 cases and count clients, not replies,
because a client that is rejected once is likely to be rejected again.</p>
<div class="scroll kept">{tables.alarms(found)}</div>
<div class="figures pairs">
{card("How often each client is rejected, the one that is hit most first", f"clients-{place}", _key(found, dotted))}
{card("Share of p-values at or below a rate", f"reliability-{place}", _key(found, "as many as there should be"))}
</div>
<h3>P-values against what they say</h3>
<p class="soft">The share of honest replies, in per cent, whose p-value is at most so much. More than that, by more than
the interval: {ABOVE}</p>
<div class="card"><div class="scroll">{tables.reliability(found)}</div></div>"""


def _attacked(place: str, found: Sequence[Catch]) -> str:
    settings = found[0].group.settings
    return f"""<h2>{escape(place)}: {settings.hostile} of {settings.clients} clients attack</h2>
<p class="soft">Per cent of the replies; the redder, the worse. Caught: hostile replies that are rejected; false alarms:
honest ones. AUROC: the chance that a hostile reply has a smaller p-value than an honest one. At 1 %, 5 %: hostile
replies whose p-value is below those of all but so many of the honest replies beside them; peace: of those where nobody
attacks. First: the round of attack by which half of the hostile clients were rejected once. From: the round of attack
from which on so many of the hostile replies of {WINDOW} rounds are rejected; by round {TENTH}: how many are in the
{WINDOW} rounds up to it.</p>
<div class="card"><div class="scroll">{tables.catches(found)}</div></div>"""
