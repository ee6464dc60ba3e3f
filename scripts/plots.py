"""The plots of the report, as plain Plotly figures; colors written `var(--name)` are the page's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .progress import TITLES
from .results import Contribution, Results

Plot = dict[str, Any]

LINES: Mapping[str, Plot] = {
    "no_attack": {"color": "var(--soft)", "dash": "dash", "width": 1.5},
    "undefended": {"color": "var(--hostile)", "width": 2},
    "defended": {"color": "var(--good)", "width": 3},
    "oracle": {"color": "var(--honest)", "dash": "dot", "width": 2},
}
VERDICTS = ("accepted", "unused", "rejected", "refused")
LEAST_HEIGHT, MOST_HEIGHT, ROW = 160, 900, 22  # pixels of a client-by-round map, and of a row in it


def plots(results: Results) -> dict[str, Plot]:
    """Every plot of the report by its name; those of scores are called `score-NAME`."""
    found = {
        "accuracy": over_rounds(results, {name: run.accuracy for name, run in results.runs.items()}),
        "success": over_rounds(results, {name: run.attack_success for name, run in results.runs.items()}),
        "verdicts": verdicts(results),
        "weights": weights(results),
    }
    return found | {f"score-{name}": score(results, name) for name in score_names(results)}


def score_names(results: Results) -> list[str]:
    """The scores of the defended run, in their order."""
    return list(dict.fromkeys(name for reply in results.contributions for name in reply.scores))


def over_rounds(results: Results, shares: Mapping[str, Sequence[float | None]]) -> Plot:
    """A share over rounds, a line for each run."""
    data = [
        {
            "x": list(range(1, len(values) + 1)),
            "y": values,
            "name": TITLES[name],
            "mode": "lines" if len(values) > 1 else "markers",
            "line": LINES[name],
            "hovertemplate": "%{y:.1%}",
        }
        for name, values in shares.items()
    ]
    return {
        "data": data,
        "layout": layout(
            340,
            yaxis={"tickformat": ".0%", "range": [-0.02, 1.02]},
            hovermode="x unified",
            showlegend=False,
        ),
    }


def verdicts(results: Results) -> Plot:
    """What became of each client in each round."""
    rows = _by_client(results)
    levels = [[None if reply is None else VERDICTS.index(_verdict(reply)) for reply in row] for row in rows.values()]
    text = [["" if reply is None else _told(reply) for reply in row] for row in rows.values()]
    # Four equal steps, so that each verdict is one flat color.
    scale = [[(i + side) / len(VERDICTS), f"var(--{name})"] for i, name in enumerate(VERDICTS) for side in (0, 1)]
    return _map(results, levels, text, {"colorscale": scale, "zmin": -0.5, "zmax": len(VERDICTS) - 0.5})


def weights(results: Results) -> Plot:
    """The weight of each client in each round."""
    rows = _by_client(results)
    values = [[None if reply is None else reply.weight for reply in row] for row in rows.values()]
    text = [["" if reply is None else f"weight {reply.weight:.3g}" for reply in row] for row in rows.values()]
    scale = [[0, "var(--page)"], [1, "var(--honest)"]]
    bar = {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": "var(--soft)"}}
    return _map(results, values, text, {"colorscale": scale, "zmin": 0, "showscale": True, "colorbar": bar})


def score(results: Results, name: str) -> Plot:
    """One score over rounds, a line for each client, the hostile ones drawn last."""
    rows = sorted(_by_client(results).items(), key=lambda item: _hostile(results, item[0]))
    data = [
        {
            "x": list(range(1, len(row) + 1)),
            "y": [None if reply is None else reply.scores.get(name) for reply in row],
            "name": f"client {client}",
            "mode": "lines" if len(row) > 1 else "markers",
            "opacity": 0.9,
            "line": {"color": "var(--hostile)" if _hostile(results, client) else "var(--honest)", "width": 1.4},
            "hovertemplate": f"client {client}, round %{{x}}: %{{y:.3g}}<extra></extra>",
        }
        for client, row in rows
    ]
    return {"data": data, "layout": layout(260, hovermode="closest", showlegend=False)}


def _map(results: Results, values: Sequence[Sequence[float | None]], text: Any, look: Plot) -> Plot:
    clients = list(_by_client(results))
    names = [f"{client} ●" if _hostile(results, client) else client for client in clients]
    data: Plot = {
        "type": "heatmap",
        "x": list(range(1, results.federation.settings.rounds + 1)),
        "y": names,
        "z": values,
        "text": text,
        "hovertemplate": "client %{y}, round %{x}<br>%{text}<extra></extra>",
        "xgap": 1,
        "ygap": 1,
        "showscale": False,
    }
    axis = {"type": "category", "autorange": "reversed"}
    height = min(MOST_HEIGHT, max(LEAST_HEIGHT, ROW * len(clients) + 70))
    return {"data": [data | look], "layout": layout(height, yaxis=axis)}


def layout(height: int, *, xaxis: Plot | None = None, yaxis: Plot | None = None, **more: Any) -> Plot:
    """The look all plots share; over rounds, unless `xaxis` says otherwise."""
    lines = {"gridcolor": "var(--line)", "zerolinecolor": "var(--line)", "linecolor": "var(--line)", "automargin": True}
    return {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 12, "b": 36},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--soft)", "size": 12, "family": "system-ui, sans-serif"},
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": "var(--line)", "font": {"color": "var(--ink)"}},
        "xaxis": lines | (xaxis or {"title": {"text": "round"}, "tickformat": "d", "showgrid": False}),
        "yaxis": lines | (yaxis or {}),
        **more,
    }


def _by_client(results: Results) -> dict[str, list[Contribution | None]]:
    """Each client's replies, one place per round."""
    rounds = results.federation.settings.rounds
    clients = [str(client) for client in range(results.federation.settings.clients)]
    rows: dict[str, list[Contribution | None]] = {client: [None] * rounds for client in clients}
    for reply in results.contributions:
        rows[reply.client][reply.round - 1] = reply
    return rows


def _hostile(results: Results, client: str) -> bool:
    return int(client) in results.federation.hostile


def _verdict(reply: Contribution) -> str:
    if reply.refused:
        return "refused"
    if not reply.accepted:
        return "rejected"
    return "accepted" if reply.weight > 0 else "unused"


def _told(reply: Contribution) -> str:
    p_value = "" if reply.p_value is None else f"p = {reply.p_value:.2g}"
    # Plotly reads its labels as a kind of HTML, and a reason may quote what a client sent.
    return "<br>".join(filter(None, [_verdict(reply), p_value, *_wrapped(escape(reply.reason))]))


def _wrapped(text: str, width: int = 60) -> Iterable[str]:
    lines = [""]
    for word in text.split():
        lines = [*lines, word] if len(lines[-1]) + len(word) > width else [*lines[:-1], f"{lines[-1]} {word}".strip()]
    return lines
