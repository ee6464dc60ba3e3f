"""What vetting has found: plain data, as lines for people and as a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

CHECKS = ("labels", "duplicates", "near duplicates", "leaks", "outliers", "triggers")
SHOWN = 5  # findings of a check that are told one by one


@dataclass(frozen=True)
class Finding:
    """What is wrong with one example, by its place in the data; `suggested` is the label its neighbors have.

    `score` is in the check's own units (`Check.limit`), and `drop` says whether dropping it would mend the fault.
    """

    check: str
    example: int
    label: int
    score: float
    reason: str
    suggested: int | None = None
    drop: bool = True


@dataclass(frozen=True)
class Check:
    """What a check looked at and from which score on it speaks; `note` says what it could not do, or how well it can.

    `limit` is None where it could say nothing.
    """

    name: str
    examples: int
    limit: float | None
    note: str = ""


@dataclass(frozen=True)
class Drift:
    """How the data differ from those of the round before; `p` is after the correction for all that was compared."""

    what: str
    label: int | None
    p: float
    detail: str


@dataclass(frozen=True)
class Report:
    """What vetting has found in a site's data.

    `dropped` are the examples, by their places, that are not to be trained on. `spared` are classes of which more than
    half would have been dropped, and how many that would have been: they stay whole, since which half is wrong cannot
    be told.
    """

    action: str
    examples: int
    digest: str
    counts: tuple[int, ...]
    checks: tuple[Check, ...]
    findings: tuple[Finding, ...]
    drifts: tuple[Drift, ...] = ()
    dropped: tuple[int, ...] = ()
    spared: dict[int, int] = field(default_factory=dict[int, int])

    @property
    def clean(self) -> bool:
        """Whether there is nothing to tell."""
        return not self.findings and not self.drifts

    @property
    def found(self) -> dict[str, int]:
        """How many examples each check has found fault with."""
        counts = Counter(check for check, _ in {(one.check, one.example) for one in self.findings})
        return {check.name: counts[check.name] for check in self.checks}

    def summary(self) -> dict[str, int | str]:
        """The report in a few numbers, none of which tells of a single example."""
        facts: dict[str, int | str] = {"action": self.action, "examples": self.examples, "dropped": len(self.dropped)}
        facts |= self.found
        return facts | {"drifts": len(self.drifts), "spared classes": len(self.spared)}

    def document(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return asdict(self) | {"found": self.found, "clean": self.clean}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Report:
        """The report in a document."""
        return cls(
            action=document["action"],
            examples=document["examples"],
            digest=document["digest"],
            counts=tuple(document["counts"]),
            checks=tuple(Check(**one) for one in document["checks"]),
            findings=tuple(Finding(**one) for one in document["findings"]),
            drifts=tuple(Drift(**one) for one in document["drifts"]),
            dropped=tuple(document["dropped"]),
            spared={int(label): count for label, count in document["spared"].items()},
        )

    def lines(self, names: Sequence[str] = (), most: int = SHOWN) -> list[str]:
        """The report as people read it; `names` are those of the classes, and `most` the findings told per check."""
        told = [f"{self.examples} examples, data set {self.digest[:16]}"]
        looked = min((check.examples for check in self.checks), default=self.examples)
        if looked < self.examples:
            told.append(f"{looked} of them were looked at: vetting takes the option most={self.examples} for all")
        for check in self.checks:
            found = sorted((one for one in self.findings if one.check == check.name), key=lambda one: -one.score)
            note = f" ({check.note})" if check.note else ""
            told.append(f"{check.name}: {len(found) if check.limit is not None else 'not judged'}{note}")
            told += [
                f"  example {one.example}, {_named(one.label, names)}: {_reason(one, names)}" for one in found[:most]
            ]
            told += [f"  and {len(found) - most} more"] if len(found) > most else []
        told += [f"drift: {one.what}: {one.detail} (p = {one.p:.2g})" for one in self.drifts]
        if self.action == "drop":
            told.append(f"{len(self.dropped)} of {self.examples} examples are not trained on")
        for label, count in self.spared.items():
            told.append(
                f"class {_named(label, names)} stays whole: {count} of its {self.counts[label]} examples are in doubt, "
                "more than half; look at them"
            )
        return told

    def __str__(self) -> str:
        return "\n".join(self.lines())


def _reason(finding: Finding, names: Sequence[str]) -> str:
    if finding.suggested is None:
        return finding.reason
    return f"{finding.reason}, {_named(finding.suggested, names)}"


def _named(label: int, names: Sequence[str]) -> str:
    return f"{names[label]!r}" if label < len(names) else str(label)
