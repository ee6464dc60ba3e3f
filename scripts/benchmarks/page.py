"""The page of a benchmark: bars of every measure by subject and size, the figures, and earlier runs if any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..page import card, page, table
from ..plots import Plot, layout

COLORS = ("var(--honest)", "var(--good)", "var(--hostile)", "var(--refused)", "var(--soft)")
BAR, MARGIN = 9, 70  # pixels of a bar, and of what is above and below all bars
MEASURES: Mapping[str, Mapping[str, str]] = {
    "speed": {
        "reads": "Time in reads: multiples of the time to read the updates once",
        "memory": "Peak memory beyond the updates, as a multiple of them",
    },
    "rounds": {
        "reads": "Time from the first reply to the new model, in reads of the updates",
        "last_reply": "Seconds from the last reply to the new model",
        "memory": "Peak memory beside replies that lie in memory, as a multiple of the updates",
        "streamed": "Peak memory in all, replies made as they are pulled, as a multiple of the updates",
    },
    "training": {
        "reads": "Time of a round, as a multiple of the bare training",
        "median": "Seconds of a round",
    },
    "start": {"median": "Seconds in a new process"},
}


def html(document: dict[str, Any], history: Sequence[dict[str, Any]]) -> str:
    """The page of a run, and of how its figures came about in the runs of the history."""
    measures = MEASURES[document["subject"]]
    key = _key(document)
    plots: dict[str, Plot] = {}
    cards: list[str] = []
    for group, names in groups(document).items():
        for measure, title in measures.items():
            if any(_value(size, name, measure) is not None for size in document["sizes"] for name in names):
                plots[f"{group}-{measure}"] = bars(document, names, measure)
                cards.append(card(f"{group}: {title}", f"{group}-{measure}", key))
    if len(history) > 1:
        for size in document["sizes"]:
            plots[f"history-{_told(size)}"] = over_runs(history, size, next(iter(measures)))
            cards.append(card(f"Earlier runs, {_told(size)}", f"history-{_told(size)}"))
    body = f"""<h1>hawthorn benchmark {escape(document["subject"])}</h1>
<dl class="settings">{_settings(document)}</dl>
{"".join(cards)}
<h2>Figures</h2>
<div class="scroll">{_figures(document, next(iter(measures)))}</div>
{_left_out(document)}"""
    footer = f"hawthorn {document['version']}, {document['commit'] or 'no commit'}, {document['date']}"
    return page(f"Hawthorn: benchmark {document['subject']}", body, plots, footer)


def groups(document: dict[str, Any]) -> dict[str, list[str]]:
    """The names of the subjects by group, in their order."""
    found: dict[str, dict[str, None]] = {}
    for size in document["sizes"]:
        for name, work in size["work"].items():
            found.setdefault(work["group"], {})[name] = None
    return {group: list(names) for group, names in found.items()}


def bars(document: dict[str, Any], names: Sequence[str], measure: str) -> Plot:
    """One measure of some subjects, a bar for each size."""
    sizes = document["sizes"]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "y": [escape(name) for name in names],
            "x": [_value(size, name, measure) for name in names],
            "name": _told(size),
            "marker": {"color": COLORS[place % len(COLORS)]},
            "hovertemplate": f"%{{y}}, {_told(size)}: %{{x:.3g}}<extra></extra>",
        }
        for place, size in enumerate(sizes)
    ]
    height = MARGIN + len(names) * (len(sizes) * BAR + 12)
    # times lie so far apart that the short ones would vanish; memory may be zero, which has no place on such an axis
    kind = "linear" if measure in {"memory", "streamed"} else "log"
    return {
        "data": data,
        "layout": layout(
            height,
            xaxis={"type": kind, "tickformat": "~g", "title": {"text": "log scale" if kind == "log" else ""}},
            yaxis={"type": "category", "autorange": "reversed"},
            barmode="group",
            showlegend=False,
        ),
    }


def over_runs(history: Sequence[dict[str, Any]], size: dict[str, Any], measure: str) -> Plot:
    """A measure of each of our own subjects over the runs of the history that had this size, a line each."""
    lines: dict[str, list[tuple[str, float]]] = {}
    for run in history:
        for found in run["sizes"]:
            if _told(found) == _told(size):
                for name, work in found["work"].items():
                    value = work.get(measure)
                    if work["ours"] and value is not None:
                        lines.setdefault(name, []).append((run["date"], value))
    data = [
        {
            "x": [date for date, _ in points],
            "y": [value for _, value in points],
            "name": escape(name),
            "mode": "lines+markers",
            "line": {"color": COLORS[place % len(COLORS)], "width": 1.4},
            "hovertemplate": f"{escape(name)}, %{{x}}: %{{y:.3g}}<extra></extra>",
        }
        for place, (name, points) in enumerate(lines.items())
    ]
    return {
        "data": data,
        "layout": layout(
            340,
            xaxis={"type": "date"},
            yaxis={"type": "log", "title": {"text": f"{measure} (log scale)"}},
            hovermode="closest",
            showlegend=True,
        ),
    }


def _told(size: dict[str, Any]) -> str:
    return f"n={size['n']}, d={size['d']:,}" if "d" in size else f"n={size['n']}"


def _value(size: dict[str, Any], name: str, measure: str) -> float | None:
    return size["work"].get(name, {}).get(measure)


def _key(document: dict[str, Any]) -> str:
    names = (
        f'<span style="--of: {COLORS[place % len(COLORS)]}">{escape(_told(size))}</span>'
        for place, size in enumerate(document["sizes"])
    )
    return f'<div class="key">{"".join(names)}</div>'


def _settings(document: dict[str, Any]) -> str:
    machine = document["machine"]
    told = {
        "processor": machine["cpu"],
        "cores": machine["cores"],
        "memory": f"{machine['memory'] / 2**30:.0f} GiB",
        "device": document.get("device", "cpu"),
        "turns": document["settings"]["repeats"],
        **{name: machine[name] for name in ("numpy", "numba", "flwr", "torch", "byzfl") if name in machine},
    }
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in told.items())


def _figures(document: dict[str, Any], measure: str) -> str:
    sizes = document["sizes"]
    rows: list[tuple[str, list[tuple[str, str]]]] = []
    for names in groups(document).values():
        for name in names:
            values = [_value(size, name, measure) for size in sizes]
            cells = [("-" if value is None else f"{value:.3g}", "number") for value in values]
            rows.append(("", [(escape(name), ""), *cells]))
    return table([(measure, ""), *((_told(size), "number") for size in sizes)], rows)


def _left_out(document: dict[str, Any]) -> str:
    told = [
        f"<li>{escape(f'{name}, {_told(size)}: {reason}')}</li>"
        for size in document["sizes"]
        for name, reason in size["left_out"].items()
    ]
    return f'<h2>Left out</h2><ul class="soft">{"".join(told)}</ul>' if told else ""
