"""Heat maps of an evaluation: attacks by defenses, the redder the worse, every number a link to its cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

from .catalog import NONE
from .summary import FEDAVG, Entry, Estimate
from .terminal import told
from .view import Federation

PARTLY = "†"


@dataclass(frozen=True)
class Measure:
    """What a heat map shows: a field of `Entry`, and how bad a value of it is, from 0 to 1.

    `verdicts` says that only runs with verdicts have it, `peace` that it means something where nobody attacks.
    """

    field: str
    title: str
    badness: Callable[[float], float]
    verdicts: bool = False
    peace: bool = True
    share: bool = True

    def estimate(self, entry: Entry) -> Estimate | None:
        """The value of an entry."""
        return getattr(entry, self.field)

    def text(self, mean: float) -> str:
        """A value as the map shows it."""
        return f"{100 * mean:.1f}" if self.share else f"{mean:.3f}"


def rising(share: float) -> float:
    """How bad a share is of which there should be none."""
    return share**0.5 if share > 0 else 0.0  # the root, because what matters lies below a tenth


def falling(share: float) -> float:
    """How bad a share is that should be all."""
    return rising(1 - share)


LOST = Measure("gap", "{figure} lost to honest clients only, %", rising)
WISH = Measure("excess", "Attack's wish, above honest clients only, %", rising, peace=False)
CAUGHT = Measure("recall", "Caught: hostile contributions rejected (TPR), %", falling, verdicts=True, peace=False)
ALARMS = Measure("false_alarm_rate", "False alarms: honest contributions rejected (FPR), %", rising, verdicts=True)
WORST_CLIENT = Measure(
    "worst_false_alarm_rate", "False alarms of the honest client that has most, %", rising, verdicts=True
)
AUROC = Measure(
    "auroc",
    "AUROC: chance that a hostile contribution looks worse than an honest one",
    lambda area: falling(2 * area - 1),
    verdicts=True,
    peace=False,
    share=False,
)


def has(federation: Federation, measure: Measure) -> bool:
    """Whether there is a value of the measure to show."""
    shown = [entry for (attack, _), entry in federation.entries.items() if attack != NONE or measure.peace]
    return any(measure.estimate(entry) is not None for entry in shown)


def heat_map(federation: Federation, names: Mapping[str, str], measure: Measure) -> str:
    """The map of one measure; `names` are the short names of defenses."""
    defenses = [one for one in federation.defenses if not (measure.verdicts and one == FEDAVG)]
    attacks = [one for one in federation.attacks if one != NONE or measure.peace]
    head = "".join(f'<th scope="col" title="{escape(one)}">{wrapping(names[one])}</th>' for one in defenses)
    rows = "".join(
        f'<tr><th scope="row">{wrapping(attack)}</th>'
        + "".join(_cell(federation, attack, defense, measure) for defense in defenses)
        + "</tr>"
        for attack in attacks
    )
    title = measure.title.format(figure=federation.figure.capitalize())
    note = f'<p class="soft">{PARTLY} a run was stopped or failed: see its cells.</p>' if PARTLY in rows else ""
    return (
        f'<div class="card"><h3>{escape(title)}</h3><div class="scroll"><table class="heat">'
        f'<thead><tr><th scope="col">attack</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}</div>'
    )


def _cell(federation: Federation, attack: str, defense: str, measure: Measure) -> str:
    entry = federation.entries.get((attack, defense))
    failed = federation.failures.get((attack, defense), [])
    if entry is None:
        return f'<td><a class="stopped" href="#{failed[0]}">failed</a></td>' if failed else "<td>-</td>"
    estimate = measure.estimate(entry)
    if estimate is None:
        return f'<td><a href="#{entry.keys[0]}">-</a></td>'
    mark = PARTLY if failed or entry.stopped else ""
    badness = min(1.0, max(0.0, measure.badness(estimate.mean)))
    precise = told(estimate) if measure.share else measure.text(estimate.mean)
    # a number without its interval is shown where there is no room for one; pointing at it tells
    hint = f' title="{precise}, {estimate.seeds} seeds"' if estimate.seeds > 1 else ""
    text = f"{measure.text(estimate.mean)}{mark}"
    return f'<td style="--heat:{badness:.2f}"><a href="#{entry.keys[0]}"{hint}>{text}</a></td>'


def wrapping(name: str) -> str:
    """A name that a narrow column may break where its words end.

    >>> wrapping("targeted_flip(source=1)")
    'targeted_<wbr>flip(<wbr>source=1)'
    """
    return re.sub(r"([_(])", r"\1<wbr>", escape(name))
