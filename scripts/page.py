"""The frame of every page: its look, its plots and the library that draws them, all in one file that loads nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

Cell = tuple[str, str]
"""What is in a cell, as HTML, and its class."""


def page(title: str, body: str, plots: Mapping[str, Any], footer: str) -> str:
    """The page around a body of HTML; the body says with `card` where each of the plots goes."""
    frame = Template(files("hawthorn.scripts").joinpath("page.html").read_text(encoding="utf-8"))
    return frame.substitute(
        title=escape(title),
        body=body,
        footer=escape(footer),
        plots=json.dumps(plots, separators=(",", ":")).replace(
            "<", "\\u003c"
        ),  # so that no text in it can end the script element
        plotly=str(get_plotlyjs()),
    )


def card(title: str, plot: str, key: str = "") -> str:
    """A frame with a title, a key, and the place of a plot."""
    return f'<div class="card"><h3>{escape(title)}</h3>{key}<div class="plot" data-plot="{escape(plot)}"></div></div>'


def table(heads: Sequence[Cell], rows: Sequence[tuple[str, Sequence[Cell]]]) -> str:
    """A table; each row has a class and its cells."""
    head = "".join(f'<th class="{kind}">{escape(text)}</th>' for text, kind in heads)
    body = "".join(
        f'<tr class="{kind}">' + "".join(f'<td class="{cell_kind}">{cell}</td>' for cell, cell_kind in cells) + "</tr>"
        for kind, cells in rows
    )
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if heads else ''}<tbody>{body}</tbody></table>"
