"""How well verdicts agree with the truth of a simulation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detection:
    """Agreement of all verdicts of a run with the truth; None where a figure has nothing to be computed from.

    `precision`: the share of hostile contributions among the rejected; `recall`: the share of rejected ones among the
    hostile; `false_alarm_rate`: the share of rejected ones among the honest; `auroc`: the chance that a hostile
    contribution looks more anomalous than an honest one, ties counted half.
    """

    precision: float | None
    recall: float | None
    false_alarm_rate: float | None
    auroc: float | None


def detection(hostile: Sequence[bool], rejected: Sequence[bool], anomaly: Sequence[float]) -> Detection:
    """Agreement over one entry per client and round; `anomaly` is greater for what looks worse.

    >>> detection([True, True, False, False], [True, False, False, False], [9.0, 2.0, 3.0, 1.0])
    Detection(precision=1.0, recall=0.5, false_alarm_rate=0.0, auroc=0.75)
    """
    truth, caught = np.array(hostile, dtype=bool), np.array(rejected, dtype=bool)
    return Detection(
        precision=_share(truth, caught),
        recall=_share(caught, truth),
        false_alarm_rate=_share(caught, ~truth),
        auroc=auroc(np.array(anomaly, dtype=np.float64), truth),
    )


def auroc(anomaly: NDArray[np.float64], truth: NDArray[np.bool_]) -> float | None:
    """The chance that a true entry ranks above a false one, ties counted half.

    >>> auroc(np.array([0.9, 0.5, 0.5]), np.array([True, True, False]))
    0.75
    """
    hostile, honest = anomaly[truth], anomaly[~truth]
    if not hostile.size or not honest.size:
        return None
    ordered = np.sort(honest)
    below, not_above = np.searchsorted(ordered, hostile, "left"), np.searchsorted(ordered, hostile, "right")
    return float((below + not_above).mean() / (2 * honest.size))


def _share(wanted: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
    return float(wanted[among].mean()) if among.any() else None
