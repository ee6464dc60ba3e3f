"""What a calibration shows on the terminal: false alarms, p-values against what they say, and who is caught."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..evaluation.terminal import first_column, in_percent, plain_table, print_whole, short
from ..progress import number
from .alarms import RATES, Alarms
from .calibration import Calibration
from .catching import CAUGHT, FALSE_ALARMS, TENTH, WINDOW, Catch
from .rate import Rate

ABOVE = "!"  # more than stated, beyond what chance explains
HONEST = (
    "In per cent. stated: the rate the policy keeps to. rejected: of all honest replies, with a 95 % interval that "
    f"counts clients, not replies. {ABOVE} more than stated, by more than the interval. worst client: the share of its "
    "replies that the most rejected one lost, and how many it sent. skipped: rounds without a new model."
)
HOSTILE = (
    "caught, alarm: hostile and honest replies that were rejected. at 1 %, at 5 %: hostile replies whose p-value is "
    "below those of all but so many honest ones beside them. first: the round of attack by which half of the hostile "
    f"clients were rejected once. from: the round of attack from which on so many hostile replies of {WINDOW} rounds "
    f"are rejected; by {TENTH}: how many are in the {WINDOW} rounds up to the tenth."
)


def show(found: Calibration, console: Console) -> None:
    """Print for each task its false alarms and p-values, and each attacked federation."""
    for task, group in groupby(found.alarms, key=lambda one: one.group.task):
        honest = list(group)
        print_whole(console, _alarms(task, honest))
        print_whole(console, _reliability(task, honest))
    for place, group in groupby(found.catches, key=lambda one: (one.group.task, one.group.scenario.text)):
        print_whole(console, _catches(", ".join(place), list(group)))
    for legend in (HONEST, HOSTILE) if found.catches else (HONEST,):
        console.print(legend, style="dim", highlight=False)
    console.print(verdict(found), highlight=False, markup=False)


def verdict(found: Calibration) -> str:
    """One sentence: whether the stated rate holds, and where not."""
    known = [one for one in found.alarms if one.stated is not None]
    if not known:
        return "the policy states no rate of false alarms that could hold"
    if found.exceeding:
        where = "; ".join(f"{one.group.task}, {one.group.scenario.text}" for one in found.exceeding)
        return f"more false alarms than stated in {len(found.exceeding)} of {len(known)} federations: {where}"
    most = max(known, key=lambda one: one.rate.share)
    return (
        f"the stated rate holds in all {len(known)} federations; most false alarms: {in_percent(most.rate.share)} % "
        f"of {in_percent(most.stated)} % stated, on {most.group.task}, {most.group.scenario.text}"
    )


def _alarms(task: str, found: Sequence[Alarms]) -> Table:
    recipes = dict.fromkeys(str(one.group.settings.recipe) for one in found)
    table = plain_table(f"{task}, nobody attacks: {' / '.join(map(short, recipes))}")
    first_column(table, "federation", [one.group.scenario.text for one in found])
    for heading in ("stated", "rejected", "95 %", "worst client", "skipped"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        worst = one.worst
        table.add_row(
            escape(one.group.scenario.text),
            in_percent(one.stated),
            in_percent(one.rate.share) + (ABOVE if one.exceeds else ""),
            interval(one.rate),
            f"{in_percent(worst.rate)} of {worst.replies}",
            in_percent(one.skipped / one.rounds),
        )
    return table


def _reliability(task: str, found: Sequence[Alarms]) -> Table:
    table = plain_table(f"{task}, nobody attacks: replies whose p-value is at most")
    first_column(table, "federation", [one.group.scenario.text for one in found])
    for rate in RATES:
        table.add_column(f"{100 * rate:g} %", justify="right", no_wrap=True)
    for one in found:
        cells = [
            in_percent(known.share) + (ABOVE if known.low > rate else "") for rate, known in one.reliability.items()
        ]
        table.add_row(escape(one.group.scenario.text), *cells)
    return table


def _catches(place: str, found: Sequence[Catch]) -> Table:
    settings = found[0].group.settings
    table = plain_table(f"{place}, {settings.hostile} of {settings.clients} clients hostile")
    first_column(table, "attack", [one.group.attack for one in found])
    told = [f"at\n{100 * rate:g} %" for rate in FALSE_ALARMS]
    since = [f"from\n{100 * share:g} %" for share in CAUGHT]
    for heading in ("caught", "alarm", "AUROC", *told, "first", *since, f"by\n{TENTH}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in sorted(found, key=lambda one: one.rejected.share):
        table.add_row(
            escape(one.group.attack),
            in_percent(one.rejected.share),
            in_percent(one.false_alarms.share if one.false_alarms else None),
            number(one.auroc),
            *(whole_percent(one.beside[rate]) for rate in FALSE_ALARMS),
            rounds(one.median_first),
            *(rounds(one.until[share]) for share in CAUGHT),
            whole_percent(one.tenth),
        )
    return table


def interval(rate: Rate) -> str:
    """From where to where, in per cent.

    >>> interval(Rate(0.02, 0.0123, 0.0301, 400, 20))
    '1.2 to 3.0'
    """
    return f"{in_percent(rate.low)} to {in_percent(rate.high)}"


def rounds(number: int | None) -> str:
    """A round of attack, or that there is none."""
    return "never" if number is None else str(number)


def whole_percent(share: float | None) -> str:
    """A share in whole per cent, without the sign."""
    return "-" if share is None else f"{100 * share:.0f}"
