"""The pictures of an inspection: cosines, clients in the plane, lengths."""

from __future__ import annotations

from html import escape

import numpy as np

from ..plots import Plot, layout
from .embedding import Embedding, alike_first
from .inspection import WORDS, Inspection
from .view import figure, plain

COLORS = {"accepted": "var(--honest)", "unused": "var(--soft)", "rejected": "var(--hostile)"}
MOST_CLIENTS = 200  # more have no place on a screen
LEAST_HEIGHT, MOST_HEIGHT, ROW, AROUND = 260, 900, 18, 60  # pixels: of a picture, of a client in it, of its axes


def shown(inspection: Inspection) -> list[int]:
    """The rows that pictures show: all, or of very many those most in doubt."""
    doubt = np.array([client.verdict.p_value for client in inspection.clients])
    return sorted(np.argsort(doubt, kind="stable")[:MOST_CLIENTS].tolist())


def plots(inspection: Inspection) -> dict[str, Plot]:
    """Every picture by its name; none where no file could be used."""
    points = inspection.embedding()
    if points is None:
        return {}
    return {"cosines": cosines(inspection), "plane": plane(inspection, points), "lengths": lengths(inspection)}


def cosines(inspection: Inspection) -> Plot:
    """The cosine of each pair of clients, those alike beside each other."""
    assert inspection.outcome is not None
    rows = shown(inspection)
    geometry = inspection.outcome.geometry.take(np.array(rows))
    order = alike_first(geometry)
    names = [_label(inspection, rows[place]) for place in map(int, order)]
    values = geometry.cosines[np.ix_(order, order)]
    between = values[~np.eye(len(values), dtype=bool)]
    most = max(float(np.abs(between).max(initial=0.0)), 0.01)  # what separates clients must not look pale
    cells = [[None if i == j else float(value) for j, value in enumerate(row)] for i, row in enumerate(values)]
    axis = {"type": "category", "showgrid": False, "ticks": "", "tickangle": -90}
    return {
        "data": [
            {
                "type": "heatmap",
                "x": names,
                "y": names,
                "z": cells,
                "zmin": -most,
                "zmax": most,
                "colorscale": [[0, "var(--hostile)"], [0.5, "var(--card)"], [1, "var(--honest)"]],
                "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": "var(--soft)"}},
                "hovertemplate": "%{x}<br>%{y}<br>cosine %{z:.3f}<extra></extra>",
                "hoverongaps": False,
            }
        ],
        "layout": layout(_height(len(names)) + 40, xaxis=axis, yaxis=axis | {"autorange": "reversed", "tickangle": 0}),
    }


def plane(inspection: Inspection, points: Embedding) -> Plot:
    """The clients in the plane; an open mark lies farther out than is drawn."""
    lines: list[Plot] = []
    for word in WORDS:
        rows = [row for row in shown(inspection) if inspection.clients[row].word == word]
        if not rows:
            continue
        lines.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": points.points[rows, 0].tolist(),
                "y": points.points[rows, 1].tolist(),
                "text": [_told(inspection, row, points) for row in rows],
                "name": word,
                "marker": {
                    "color": COLORS[word],
                    "size": 10,
                    "opacity": 0.85,
                    "symbol": ["circle-open" if points.shortened[row] else "circle" for row in rows],
                    "line": {"width": 2 if any(points.shortened[rows]) else 0, "color": COLORS[word]},
                },
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    axis = {"zeroline": False, "tickformat": "~g"}
    title = {"text": f"shows {100 * points.explained:.0f} % of the variance"}
    return {
        "data": lines,
        "layout": layout(
            380,
            xaxis=axis | {"title": title},
            yaxis=axis | {"scaleanchor": "x"},  # so that distances are the same in all directions
            hovermode="closest",
            showlegend=False,
        ),
    }


def lengths(inspection: Inspection) -> Plot:
    """How long each client's update is, the longest first."""
    rows = sorted(shown(inspection), key=lambda row: -inspection.clients[row].length)
    names, found = [_label(inspection, row) for row in rows], [inspection.clients[row] for row in rows]
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "y": names,
                "x": [client.length or None for client in found],  # a length of 0 has no place on such an axis
                "marker": {"color": [COLORS[client.word] for client in found], "size": 9},
                "hovertemplate": "%{y}: %{x:.4g}<extra></extra>",
            }
        ],
        "layout": layout(
            _height(len(rows)),
            xaxis={"type": "log", "tickformat": "~g", "title": {"text": "length (log scale)"}},
            yaxis={
                "type": "category",
                "categoryorder": "array",
                "categoryarray": names[::-1],
            },
            hovermode="closest",
            showlegend=False,
        ),
    }


def _height(rows: int) -> int:
    return min(MOST_HEIGHT, max(LEAST_HEIGHT, ROW * rows + AROUND))


def _label(inspection: Inspection, row: int) -> str:
    """A client's name as an axis shows it: short, with a mark if it was rejected, and its place where names meet."""
    client = inspection.clients[row]
    name = plain(client.name)
    if len(name) > 14:
        name = f"{name[:6]}…{name[-7:]}"
        if sum(_cut(other) == name for other in inspection.names) > 1:
            name = f"{name} {row + 1}"
    # Plotly reads its labels as a kind of HTML, and files may be called anything
    return escape(name) + ("" if client.verdict.accepted else " ●")


def _cut(name: str) -> str:
    name = plain(name)
    return f"{name[:6]}…{name[-7:]}" if len(name) > 14 else name


def _told(inspection: Inspection, row: int, points: Embedding) -> str:
    client = inspection.clients[row]
    lines = [
        plain(client.name),
        f"{client.word}, p = {client.verdict.p_value:.2g}",
        f"length {figure(client.length)}, {figure(float(points.distances[row]))} usual distances from the middle",
    ]
    return "<br>".join(map(escape, lines))
