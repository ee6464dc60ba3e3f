"""The report of an evaluation: one HTML page, worst case first, that opens offline and on a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from typing import Any

from ..page import card, page
from ..plots import Plot
from . import tables
from .curves import FIGURE, SUCCESS, key, over_rounds
from .details import details
from .heat import ALARMS, AUROC, CAUGHT, LOST, WISH, WORST_CLIENT, has, heat_map
from .summary import FEDAVG
from .terminal import headline
from .view import ORACLE, Federation, Group, federations, short_names

DETECTION = (AUROC, CAUGHT, ALARMS, WORST_CLIENT)
FEW = 5  # defenses that leave room for another map beside


def html(document: Mapping[str, Any]) -> str:
    """The page of a document (see `Evaluation.document`). Everything it shows is in it; it loads nothing."""
    found = federations(document)
    named = [short_names(one.defenses) | {ORACLE: ORACLE} for one in found]
    results = {key: cell["result"] for key, cell in document["cells"].items()}
    titles = _titles(found)
    plots: dict[str, Plot] = {}
    shown: set[str] = set()
    sections: list[str] = []
    for place, (federation, names) in enumerate(zip(found, named, strict=True)):
        fresh = [group for group in federation.groups if group.anchor not in shown]  # peace may belong to several
        shown |= {group.anchor for group in fresh}
        wishes = has(federation, WISH)
        for name, curve in {"figure": FIGURE, **({"success": SUCCESS} if wishes else {})}.items():
            plots[f"{name}-{place}"] = over_rounds(federation, names, results, curve, f"attack-{place}")
        sections.append(_section(federation, place, titles[place], names, fresh, wishes))
    several = f'<div class="scroll">{tables.overview(found, titles, named)}</div>' if len(found) > 1 else ""
    body = f"<h1>Worst case first</h1>{_introduction(document, found)}{several}{''.join(sections)}"
    cells = len(results) + len(document["failed"])
    return page("Hawthorn: evaluation", body, plots, f"hawthorn {version('hawthorn')}, {cells} cells")


def _introduction(document: Mapping[str, Any], found: Sequence[Federation]) -> str:
    seeds = max((entry.final.seeds for one in found for entry in one.entries.values() if entry.final), default=0)
    spread = f"the mean of {seeds} seeds ± half its 95 % confidence interval" if seeds > 1 else "one seed: no interval"
    failed = document["failed"]
    warning = (
        f'<p class="stopped"><a class="stopped" href="#{failed[0]["key"]}">{len(failed)} '
        f"{'cell' if len(failed) == 1 else 'cells'} failed</a>, so that a worst case is only one of those that ran. "
        f"{'The' if len(failed) == 1 else 'The first'} reason: {escape(failed[0]['reason'])}</p>"
        if failed
        else ""
    )
    return f"""<p class="soft">What each defense loses to an average of the honest clients alone, from the same start
and the same data, under the attack that costs it most. In per cent and percentage points, means over the last three
rounds that were evaluated; {spread}. Numbers lead to the cells behind them.</p>{warning}"""


def _titles(found: Sequence[Federation]) -> list[str]:
    """A line for each federation, with the settings in which they differ."""
    told_of = {"task", "partition", "rounds", "clients", "run"}
    values: dict[str, set[Any]] = {}
    for federation in found:
        for name, value in federation.place:
            values.setdefault(name, set()).add(value)
    apart = [name for name, known in values.items() if len(known) > 1 and name not in told_of]
    return [
        ", ".join([headline(one.place, one.hostile), *(f"{name} {dict(one.place)[name]}" for name in apart)])
        for one in found
    ]


def _section(
    federation: Federation, place: int, title: str, names: Mapping[str, str], groups: Sequence[Group], wishes: bool
) -> str:
    maps = [heat_map(federation, names, measure) for measure in (LOST, WISH) if has(federation, measure)]
    detection = [heat_map(federation, names, measure) for measure in DETECTION if has(federation, measure)]
    lines = key(federation, names)
    curves = [card(f"{federation.figure.capitalize()} after each round", f"figure-{place}", lines)]
    if wishes:
        curves.append(card("Attack's wish after each round: how often it is granted", f"success-{place}", lines))
    several = any(len(entry.keys) > 1 for entry in federation.entries.values())
    best = tables.standings(federation, names, place) if federation.standings else tables.peace(federation, names)
    return f"""<h2 id="federation-{place}">{escape(title)}</h2>
<p>{tables.answer(federation, names)}</p>
<div class="scroll kept">{best}</div>
{tables.recipes(federation, names)}
<h3>Attack by attack</h3>
<p class="soft">The redder, the worse.</p>
{_side_by_side(maps, federation)}
<h3>Over the rounds</h3>
<p>{_choice(federation, f"attack-{place}")}{" Bands reach from the least seed to the greatest." if several else ""}</p>
{"".join(curves)}
<h3 id="detection-{place}">Who is caught</h3>
<p class="soft">Verdicts against the truth, which no part of a defense knows.</p>
{_side_by_side(detection, federation)}
<h3 id="cost-{place}">Cost</h3>
<div class="scroll">{tables.cost(federation, names)}</div>
<h3>Cells</h3>
{details(federation, groups, names)}"""


def _choice(federation: Federation, name: str) -> str:
    """What chooses the attack whose lines are drawn; at first the one under which the best defense loses most."""
    best = next((one.worst for one in federation.standings if one.defense != FEDAVG and one.worst), None)
    options = "".join(
        f'<option value="{place}"{" selected" if best and attack == best.attack else ""}>{escape(attack)}</option>'
        for place, attack in enumerate(federation.attacks)
    )
    return f'<label for="{name}">Attack</label> <select id="{name}">{options}</select>'


def _side_by_side(maps: Sequence[str], federation: Federation) -> str:
    """Heat maps two in a row, where there are few columns."""
    wide = len(federation.defenses) > FEW
    return "".join(maps) if wide else f'<div class="figures pairs">{"".join(maps)}</div>'
