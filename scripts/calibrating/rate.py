"""How often something happens to clients, with an interval that knows that one client's replies are alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

NORMAL = 1.959963984540054  # two-sided 95 %


@dataclass(frozen=True)
class Rate:
    """The share of replies to which it happened, over all clients; `low` to `high` is its 95 % confidence interval.

    A client that is rejected once is likely to be rejected again, so a thousand replies of twenty clients say less than
    a thousand clients would. The interval is Wilson's, for as many replies as would say as much (Rao, Scott, "A simple
    method for the analysis of clustered binary data", Biometrics 48(2), 1992, https://doi.org/10.2307/2532311). Where
    it happened never or always nothing shows how much alike they are: then each client counts as one reply.

    >>> Rate.of([(0, 20)] * 38 + [(10, 20)] * 2)
    Rate(share=0.025, low=0.006885, high=0.086614, replies=800, clients=40)
    """

    share: float
    low: float
    high: float
    replies: int
    clients: int

    @classmethod
    def of(cls, counts: Iterable[tuple[int, int]]) -> Rate | None:
        """The rate from each client's number of times and of replies; None without a reply."""
        known = [(times, replies) for times, replies in counts if replies]
        total = sum(replies for _, replies in known)
        if not total:
            return None
        share = sum(times for times, _ in known) / total
        low, high = wilson(share, worth(known))
        return cls(round(share, 6), round(low, 6), round(high, 6), total, len(known))


def worth(counts: list[tuple[int, int]]) -> float:
    """How many independent replies would say as much about the rate as these clients' do.

    Two clients of which one is always hit and the other never are worth no more than one reply each:

    >>> worth([(9, 9), (0, 9)]), worth([(4, 9), (5, 9)])
    (1.0, 18.0)
    """
    clients, total = len(counts), sum(replies for _, replies in counts)
    share = sum(times for times, _ in counts) / total
    if share in {0.0, 1.0} or clients == 1:
        return float(clients)
    spread = sum((times - share * replies) ** 2 for times, replies in counts)
    variance = clients / (clients - 1) * spread / total**2
    independent = share * (1 - share)
    return max(1.0, min(float(total), independent / variance)) if variance else float(total)


def wilson(share: float, count: float) -> tuple[float, float]:
    """The 95 % interval of a share of so many independent trials (Wilson, J. Am. Stat. Assoc. 22(158), 1927).

    >>> [round(end, 3) for end in wilson(0.0, 20)]
    [0.0, 0.161]
    """
    middle = share + NORMAL**2 / (2 * count)
    half = NORMAL * sqrt(share * (1 - share) / count + NORMAL**2 / (4 * count**2))
    whole = 1 + NORMAL**2 / count
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)
