"""The catalogue as Markdown: what `docs/catalogue.md` holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hawthorn.strategies.certificates import least_kappa, median_kappa

from .catalogue import CLIENTS, HOSTILE, LAWS, Entry, catalogue

LEAST, USUAL = (f"{kappa(CLIENTS, HOSTILE):.2f}" for kappa in (least_kappa, median_kappa))

TITLE = """\
# The catalogue

Generated from the code by `hawthorn rules --markdown > docs/catalogue.md`; `hawthorn rules` lists the same in the
terminal, and `hawthorn rules NAME` tells all of one part. A defense names parts as they are written here, with those
options that are to differ: `arc | multi_krum(m=5); f=0.2; scores=length, distance; policy=fdr(q=0.1)`.
"""
TOLERANCE = f"""\
- Rows: how many a round must have for f hostile clients. Most f: the most hostile clients borne of {CLIENTS}.
- kappa: the proven coefficient for n = {CLIENTS} and f = {HOSTILE}. The square of how far the update is from the mean
  of any n - f rows is at most kappa times their variance. No rule has less than {LEAST}. "Tested": none is proven, but
  with all hostile rows of the tests the update keeps to the geometric median's, {USUAL}. "None": hostile rows can lead
  the update farther, see survival below; such a rule takes an f and alone bears nobody.
- Reads: how often a call on its own reads the updates. A defense reads them once for scores and verdicts, which is the
  first read of all rules that read twice or more, but for those that have no weights per client.
- Needs: what a rule is given beside the updates; and what a defense then keeps between rounds, n being the clients it
  ever saw and d the parameters. Identities are the names under which the server knows its clients. Without them nothing
  is kept; and who can take another name begins anew.
"""
PROOFS = f"""\
kappa: what a rule's coefficient of 1 becomes with the transform before it, for n = {CLIENTS} and f = {HOSTILE}.
"""
SPREAD = """\
Higher is more anomalous. Spread: the least standard deviation with which a score is read; honest clients differ by it.
"""
ATTACK = """\
To test a defense with. Changes: what it acts on, which is a hostile client's data, training, own update or reply, the
hostile clients' updates as made from the honest ones', or whether there is an attack in this round.
"""


def markdown() -> str:
    """The catalogue as Markdown, as `docs/catalogue.md` holds it."""
    found = catalogue()
    rules, transforms = found["rules"], found["transforms"]
    sections = [
        TITLE,
        "## Rules\n",
        _table(("rule", "answers"), ((f"`{one.call}`", one.answer) for one in rules)),
        "### Tolerance, cost and needs\n",
        TOLERANCE,
        _table(
            ("rule", "rows", "most f", "kappa", "reads", "needs"),
            (
                (f"`{one.name}`", one.facts["least"], one.facts["most"], bound(one), one.facts["reads"], _needs(one))
                for one in rules
            ),
        ),
        "### Laws\n",
        "\n".join(f"- {law}: {text}" for law, text in LAWS.items()) + "\n",
        _laws(rules, "rule"),
        "### Sources\n",
        _sources(rules),
        "## Transforms\n",
        PROOFS,
        _table(
            ("transform", "answers", "rows", "most f", "kappa", "needs"),
            (
                (f"`{one.call}`", one.answer, one.facts["least"], one.facts["most"], proven(one), _needs(one))
                for one in transforms
            ),
        ),
        _laws(transforms, "transform", [law for law in LAWS if law not in {"survival", "size"}]),
        _sources(transforms),
        "## Scores\n",
        SPREAD,
        _table(
            ("score", "sees", "spread", "needs"),
            ((f"`{one.call}`", one.answer, one.facts["spread"], _needs(one)) for one in found["scores"]),
        ),
        _sources(found["scores"]),
        "## Policies\n",
        _table(("policy", "answers"), ((f"`{one.call}`", one.answer) for one in found["policies"])),
        _sources(found["policies"]),
        "## Attacks\n",
        ATTACK,
        _table(
            ("attack", "makes", "changes"),
            ((f"`{one.call}`", one.answer, one.facts["changes"]) for one in found["attacks"]),
        ),
    ]
    return "\n".join(section for section in sections if section)


def bound(rule: Entry) -> str:
    """The proven coefficient of a rule, "tested" where none is known, or "none" where hostile rows know no bound."""
    return proven(rule) or ("none" if "survival" in rule.exempt else "tested")


def proven(part: Entry) -> str:
    """The proven coefficient as text; nothing where there is none."""
    kappa = part.facts["proven"]
    return f"{kappa:.2f}" if isinstance(kappa, float) else ""


def _needs(part: Entry) -> str:
    return "; ".join(part.needs)


def _sources(entries: Sequence[Entry]) -> str:
    return "".join(f"- `{one.name}`: {one.source.rstrip('.')}.\n" for one in entries if one.source)


def _laws(entries: Sequence[Entry], kind: str, laws: Iterable[str] = LAWS) -> str:
    """Which part keeps which law, and below it why not, each reason once."""
    reasons = list(dict.fromkeys(reason for one in entries for law, reason in one.exempt.items() if law in LAWS))
    laws = list(laws)
    table = _table(
        (kind, *laws),
        (
            (
                f"`{one.name}`",
                *(f"no ({reasons.index(one.exempt[law]) + 1})" if law in one.exempt else "yes" for law in laws),
            )
            for one in entries
        ),
    )
    return table + "\n" + "".join(f"{place}. {reason}\n" for place, reason in enumerate(reasons, 1))


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table.

    >>> print(_table(("a", "b"), [(1, "2|3")]))
    | a | b |
    |---|---|
    | 1 | 2\\|3 |
    <BLANKLINE>
    """
    lines = [headings, *rows]
    written = ["| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines]
    return "\n".join([written[0], "|" + "---|" * len(headings), *written[1:], ""])
