"""The tables of an evaluation's page: standings worst case first, losses in peace, and cost; numbers are links."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from statistics import fmean

from ..page import Cell, table
from ..progress import number
from .catalog import NONE
from .summary import FEDAVG, Entry, Estimate, Standing
from .terminal import told
from .view import Federation

Names = Mapping[str, str]


def overview(found: Sequence[Federation], titles: Sequence[str], named: Sequence[Names]) -> str:
    """The best defense of each federation, by the names that defenses have there."""
    rows: list[tuple[str, list[Cell]]] = []
    for place, (federation, title, names) in enumerate(zip(found, titles, named, strict=True)):
        best, plain = _best(federation), _plain(federation)
        rows.append(
            (
                "",
                [
                    (f'<a href="#federation-{place}">{escape(title)}</a>', ""),
                    (_name(best.defense, names) if best else "-", ""),
                    (_link(best.worst if best else None, "gap"), "number"),
                    (_attack(best), ""),
                    (_link(plain.worst if plain else None, "gap"), "number"),
                ],
            )
        )
    heads = [("federation", ""), ("loses least", ""), ("lost at worst", "number"), ("worst attack", "")]
    return table([*heads, ("lost undefended", "number")], rows)


def answer(federation: Federation, names: Names) -> str:
    """The first sentence: which defense loses least, and what is lost without one."""
    best, plain = _best(federation), _plain(federation)
    if not federation.hostile:
        return "Nobody attacks here: what is lost is the price of the hedge."
    if best is None:
        return "No defense has a result under attack."
    lost = _link(best.worst, "gap")
    told_of = f"{_name(best.defense, names)} loses least: {lost} points at worst, under {_attack(best)}"
    if plain is None:
        return f"{told_of}."
    return f"{told_of}. Undefended, {_link(plain.worst, 'gap')} points are lost under {_attack(plain)}."


def standings(federation: Federation, names: Names, place: int) -> str:
    """Every defense, the one that loses least in its worst case first."""
    columns: dict[str, Callable[[Standing], str]] = {
        "defense": lambda one: _name(one.defense, names),
        "lost at worst": lambda one: _link(one.worst, "gap") + _failures(federation, one.defense),
        "worst attack": _attack,
        "lost in peace": lambda one: _link(one.peace, "gap"),
        "wish": lambda one: _link(one.fooled, "excess"),
        "caught": lambda one: _detected(one, "recall", place),
        "alarm": lambda one: _detected(one, "false_alarm_rate", place),
        "worst client": lambda one: _worst_client(federation, one.defense),
        "AUROC": lambda one: _detected(one, "auroc", place),
        "s a round": lambda one: f'<a href="#cost-{place}">{_number(one.seconds)}</a>',
    }
    text = {"defense", "worst attack"}
    rows = [
        ("", [(cell(one), "" if name in text else "number") for name, cell in columns.items()])
        for one in federation.standings
    ]
    return table([(name, "" if name in text else "number") for name in columns], rows)


def peace(federation: Federation, names: Names) -> str:
    """Defenses where nobody attacks."""
    columns = {federation.figure: "final", "honest only": "oracle", "lost": "gap", "alarm": "false_alarm_rate"}
    columns |= {"worst client": "worst_false_alarm_rate"}
    rows = [
        ("", [(_name(entry.defense, names), ""), *((_link(entry, field), "number") for field in columns.values())])
        for entry in federation.entries.values()
    ]
    return table([("defense", ""), *((name, "number") for name in columns)], rows)


def recipes(federation: Federation, names: Names) -> str:
    """What the short names stand for."""
    shortened = [one for one in federation.defenses if names[one] != one and one != FEDAVG]
    rows = [("", [(escape(names[one]), ""), (f"<code>{escape(one)}</code>", "")]) for one in shortened]
    if not rows:
        return ""
    whole = table([("defense", ""), ("recipe", "")], rows)
    return f'<details><summary>Recipes in full</summary><div class="scroll">{whole}</div></details>'


def cost(federation: Federation, names: Names) -> str:
    """Seconds a round, over all attacks and in peace."""
    rows: list[tuple[str, list[Cell]]] = []
    for defense in federation.defenses:
        found = [entry for (_, other), entry in federation.entries.items() if other == defense]
        whole = [(entry.seconds.mean, entry) for entry in found if entry.seconds]
        own = [entry.defense_seconds.mean for entry in found if entry.defense_seconds]
        if not whole:
            continue
        longest, slowest = max(whole, key=lambda pair: pair[0])
        mean = fmean(seconds for seconds, _ in whole)
        cells = [
            (_name(defense, names), ""),
            (_number(mean), "number"),
            (f'<a href="#{slowest.keys[0]}">{_number(longest)}</a>', "number"),
            (escape(slowest.attack), ""),
            (_number(fmean(own) if own else None), "number"),
            (f"{100 * fmean(own) / mean:.1f}" if own and mean else "-", "number"),
        ]
        rows.append(("", cells))
    heads = [("defense", ""), ("seconds a round", "number"), ("longest", "number"), ("under", "")]
    return table([*heads, ("defense alone", "number"), ("of all, %", "number")], rows)


def _best(federation: Federation) -> Standing | None:
    ranked = [one for one in federation.standings if one.defense != FEDAVG and one.worst]
    return ranked[0] if ranked else None


def _plain(federation: Federation) -> Standing | None:
    return next((one for one in federation.standings if one.defense == FEDAVG and one.worst), None)


def _name(defense: str, names: Names) -> str:
    return f'<b title="{escape(defense)}">{escape(names[defense])}</b>'


def _attack(one: Standing | None) -> str:
    return escape(one.worst.attack) if one and one.worst else "-"


def _link(entry: Entry | None, field: str) -> str:
    """A value of an entry, in per cent, as a link to its cells."""
    estimate: Estimate | None = getattr(entry, field) if entry else None
    return f'<a href="#{entry.keys[0]}">{told(estimate)}</a>' if entry and estimate else "-"


def _detected(one: Standing, measure: str, place: int) -> str:
    """A mean over attacks, as a link to what it is the mean of."""
    value = one.detection[measure]
    if value is None:
        return "-"
    return f'<a href="#detection-{place}">{number(value) if measure == "auroc" else f"{100 * value:.1f}"}</a>'


def _worst_client(federation: Federation, defense: str) -> str:
    """The most false alarms of one honest client, under the attack where they are most."""
    found: Iterable[Entry] = (
        entry for (attack, other), entry in federation.entries.items() if other == defense and attack != NONE
    )
    alarms = [(one.mean, entry) for entry in found if (one := entry.worst_false_alarm_rate)]
    return _link(max(alarms, key=lambda pair: pair[0])[1], "worst_false_alarm_rate") if alarms else "-"


def _failures(federation: Federation, defense: str) -> str:
    """A warning where the worst case may be one that has no result."""
    keys = [key for (_, other), failed in federation.failures.items() if other == defense for key in failed]
    return f' <a class="stopped" href="#{keys[0]}">{len(keys)} failed</a>' if keys else ""


def _number(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f}"
