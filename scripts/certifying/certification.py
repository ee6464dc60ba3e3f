"""What `hawthorn certify` finds of a defense, for each number of hostile clients that it bears."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hawthorn.strategies.certificates import PartTolerance

from .kappa import Worst


@dataclass(frozen=True)
class Certificate:
    """What is known of one number f of hostile rows.

    `bound` is the coefficient that `worst` is compared with: the proven one, or else the geometric median's, a mere
    yardstick. `guarded` is the worst found with the recipe's policy on, None where it has none.
    """

    f: int
    least: float
    proven: float | None
    bound: float
    worst: Worst
    guarded: Worst | None

    @property
    def holds(self) -> bool:
        """Whether the worst that was found is within the bound; only rounding is forgiven."""
        return self.worst.kappa <= self.bound * (1 + 1e-6)

    def document(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "f": self.f,
            "lower_bound": self.least,
            "proven": self.proven,
            "compared_with": "the geometric median's coefficient" if self.proven is None else "the proven coefficient",
            "bound": self.bound,
            "holds": self.holds,
            "empirical": _found(self.worst),
            "with_policy": None if self.guarded is None else _found(self.guarded),
        }


@dataclass(frozen=True)
class Certification:
    """A defense's certificates, one for each f from 1 to the most that it bears."""

    settings: dict[str, Any]
    tolerance: tuple[PartTolerance, ...]
    most_tolerated: int
    certificates: list[Certificate]

    @property
    def holds_up_to(self) -> int:
        """The largest f for which it and every smaller one hold; 0 for none."""
        broken = (certificate.f for certificate in self.certificates if not certificate.holds)
        return min(broken, default=self.most_tolerated + 1) - 1

    def document(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "settings": self.settings,
            "tolerance": [asdict(part) for part in self.tolerance],
            "most_tolerated": self.most_tolerated,
            "holds_up_to": self.holds_up_to,
            "certificates": [certificate.document() for certificate in self.certificates],
        }


def _found(worst: Worst) -> dict[str, Any]:
    return {
        "kappa": worst.kappa,
        "kappa_of_the_honest": worst.moved,
        "attack": worst.attack,
        "set": list(worst.chosen),
        "tried": worst.tried,
        "skipped": worst.skipped,
    }
