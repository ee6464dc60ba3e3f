"""The cells of an evaluation one by one, folded away: what was run, what came of each seed, and how to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hawthorn.server.settings import TABLE

from ..page import Cell, table
from ..progress import number
from .catalog import NONE
from .summary import FEDAVG, Entry, Estimate
from .terminal import told
from .view import ORACLE, Federation, Group

LAST = 3  # rounds whose figures are shown one by one
MOST = 20  # clients named of those that were rejected
ALWAYS = ("run", "seed", "attack", "defense", "hostile", "tolerated")  # settings written whatever their defaults

# Columns of what a group reached over its seeds: heading, field of `Entry`.
REACHED = {
    "honest only": "oracle",
    "lost": "gap",
    "wish": "success",
    "wish above honest only": "excess",
    "worst class recall": "worst_class_recall",
    "caught": "recall",
    "alarm": "false_alarm_rate",
    "worst client": "worst_false_alarm_rate",
}


def details(federation: Federation, groups: Sequence[Group], names: Mapping[str, str]) -> str:
    """Every group of cells, the failed ones first, then by attack and defense as everywhere on the page."""
    attacks, defenses = federation.attacks, (*federation.defenses, ORACLE)

    def place(group: Group) -> tuple[bool, bool, int, int]:
        attack = attacks.index(group.attack) if group.attack in attacks else -1
        return not group.failed, group.defense == ORACLE, attack, defenses.index(group.defense)

    entries = {key: entry for entry in federation.entries.values() for key in entry.keys}
    return "".join(
        _group(group, entries.get(group.anchor), names[group.defense]) for group in sorted(groups, key=place)
    )


def command(group: Group) -> str:
    """The command that runs the cells of a group again, beside the cells that they are compared with.

    Settings that have their defaults are left out. Where nothing was defended, the plain mean stands for a defense.
    """
    config = group.config
    chosen = [(name, config[name]) for name in config if name not in ALWAYS and config[name] != TABLE[name].default]
    # honest clients alone are the same under every attack that leaves their data as they are
    attack = config["attack"] or ("sign_flip" if config["hostile"] else NONE)
    chosen += [("hostile", config["hostile"]), ("attacks", attack)]
    chosen += [("defense", config.get("defense", "mean")), ("tolerated", config.get("tolerated", 0))]
    seeds = group.seeds
    counted = seeds == list(range(1, len(seeds) + 1))
    chosen += [("seeds", len(seeds))] if counted else [("seed", seed) for seed in seeds]
    chosen += [("data", group.data)] if group.data else []
    words = (word for name, value in chosen for word in (f"--{name}", str(value)))
    return shlex.join(["hawthorn", "evaluate", *words])


def _group(group: Group, entry: Entry | None, name: str) -> str:
    reached = _summary(group, entry)
    settings = ", ".join(f"{option} {value}" for option, value in group.config.items() if value != "")
    failed = "".join(
        f'<p class="stopped"{_anchor(key, group)}>seed {seed} failed: {escape(reason)}</p>'
        for key, (seed, reason) in group.failed.items()
    )
    seeds = _seeds(group) if group.results else ""
    return (
        f'<details id="{group.anchor}"><summary><b>{escape(group.attack)}</b> against <b>{escape(name)}</b>'
        f' <span class="soft">{reached}</span></summary>{failed}'
        f"{_over_seeds(entry) if entry else ''}{seeds}{_remarks(group)}"
        f'<p class="soft">{escape(settings)}; seeds {", ".join(map(str, group.seeds))}'
        f"{'; data ' + escape(group.data) if group.data else ''}</p>"
        f"<p>Run again:</p><pre>{escape(command(group))}</pre></details>"
    )


def _summary(group: Group, entry: Entry | None) -> str:
    if not group.results:
        return '<span class="stopped">failed</span>'
    lost = f"lost {told(entry.gap)}" if entry and entry.gap else ""
    some = (
        f'<span class="stopped">{len(group.failed)} of {len(group.seeds)} seeds failed</span>' if group.failed else ""
    )
    return " ".join(filter(None, [lost, some]))


def _over_seeds(entry: Entry) -> str:
    """What all seeds reached together, in per cent."""
    found: dict[str, Estimate | None] = {entry.figure.replace("_", " "): entry.final}
    found |= {heading: getattr(entry, name) for heading, name in REACHED.items()}
    cells = {heading: told(value) for heading, value in found.items() if value is not None}
    if entry.auroc:
        cells["AUROC"] = number(entry.auroc.mean)
    for heading, seconds in (("s a round", entry.seconds), ("of it defense", entry.defense_seconds)):
        if seconds:
            cells[heading] = f"{seconds.mean:.3f}"
    whole = f"mean of {len(entry.keys)} seeds, %" if len(entry.keys) > 1 else "one seed, %"
    row: list[Cell] = [(whole, "soft number"), *((text, "number") for text in cells.values())]
    heads = [("", ""), *((heading, "number") for heading in cells)]
    return f'<div class="scroll">{table(heads, [("", row)])}</div>'


def _seeds(group: Group) -> str:
    """What each seed reached at its end, and in its last rounds."""
    results = [result for _, result in group.results.values()]
    figure: str = results[0]["figure"]
    measured = list(dict.fromkeys([figure, *(name for result in results for name in result["final"])]))
    shown = [name for name in measured if any(result["final"].get(name) is not None for result in results)]
    heads = [("seed", "number"), *((name.replace("_", " "), "number") for name in shown)]
    rows: list[tuple[str, list[Cell]]] = []
    for key, (seed, result) in group.results.items():
        cells = [(_percent(result["final"].get(name)), "number") for name in shown]
        last = ", ".join(_percent(value) for value in result["rounds"].get(figure, ())[-LAST:])
        rows.append(
            (
                "",
                [
                    (f"<span{_anchor(key, group)}>{seed}</span>", "number"),
                    *cells,
                    (last, "number"),
                    (f"<code>{key}</code>", "soft"),
                ],
            )
        )
    heads += [(f"{figure.replace('_', ' ')}, last rounds", "number"), ("key", "")]
    return f'<div class="scroll">{table(heads, rows)}</div>'


def _remarks(group: Group) -> str:
    """What else happened: runs that were stopped, rounds that were skipped, clients that were rejected."""
    lines: list[str] = []
    for seed, result in group.results.values():
        if result["stopped"]:
            lines.append(f'<p class="stopped">seed {seed} stopped in {escape(result["stopped"])}</p>')
        if result["skipped"]:
            lines.append(f'<p class="stopped">seed {seed}: {result["skipped"]} rounds skipped, the model stayed</p>')
        if group.defense not in {ORACLE, FEDAVG}:
            lines.append(f'<p class="soft">seed {seed}, rejected: {_rejected(result)}</p>')
    return "".join(lines)


def _rejected(result: Mapping[str, Any]) -> str:
    """The clients that were rejected, the hostile ones and those most often rejected first."""
    found = sorted(result["rejected"], key=lambda one: (-one[1], -one[2], one[0]))
    told_of = [
        f"{'● ' if hostile else ''}{client} in {rejected} of {rounds}"
        for client, hostile, rejected, rounds in found
        if rejected
    ]
    more = f" and {len(told_of) - MOST} more" if len(told_of) > MOST else ""
    return (", ".join(told_of[:MOST]) + more) or "nobody"


def _anchor(key: str, group: Group) -> str:
    return "" if key == group.anchor else f' id="{key}"'  # the group itself goes by its first key


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
