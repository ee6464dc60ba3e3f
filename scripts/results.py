"""What a simulation found, as plain data: figures of each run, verdicts beside the truth, and the JSON document."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .detection import Detection, detection
from .federation import Federation, Run

LAST_ROUNDS = 3  # final figures are means over these: a single round is luck, and the best one a choice made afterwards


@dataclass(frozen=True)
class Contribution:
    """One client's reply in one round of the defended run, and the truth about it.

    `client` is its partition number. A refused reply has weight 0, no scores, and no p-value.
    """

    round: int
    client: str
    hostile: bool
    accepted: bool
    weight: float
    p_value: float | None
    scores: dict[str, float]
    reason: str
    refused: bool = False

    @property
    def anomaly(self) -> float:
        """How bad it looked; a reply that admission refused looked worse than any that could be scored."""
        return 2.0 if self.p_value is None else 1.0 - self.p_value


@dataclass(frozen=True)
class ClientRecord:
    """One client over the whole defended run; `usual_reason` is what most often led to its rejection."""

    client: str
    hostile: bool
    replies: int
    rejected: int
    mean_weight: float
    usual_reason: str


@dataclass(frozen=True)
class Results:
    """Everything a simulation found."""

    federation: Federation
    engine: str
    runs: dict[str, Run]
    contributions: tuple[Contribution, ...]
    detection: Detection

    @classmethod
    def of(cls, federation: Federation, engine: str, runs: dict[str, Run]) -> Results:
        """The results of the `runs`."""
        found = contributions(runs["defended"], federation.hostile)
        return cls(
            federation=federation,
            engine=engine,
            runs=runs,
            contributions=found,
            detection=detection(
                hostile=[reply.hostile for reply in found],
                rejected=[not reply.accepted for reply in found],
                anomaly=[reply.anomaly for reply in found],
            ),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by their names, those that identify the simulation first."""
        chosen, defense = self.federation.settings, self.federation.defense
        return {
            "task": chosen.task,
            "clients": chosen.clients,
            "hostile": chosen.hostile,
            "tolerated": defense.f,
            "attack": chosen.attack if chosen.hostile else "",
            "defense": str(defense),
            "partition": chosen.partition,
            "rounds": chosen.rounds,
            "seed": chosen.seed,
            "local_epochs": chosen.local_epochs,
            "batch_size": chosen.batch_size,
            "local_steps": chosen.local_steps,
            "learning_rate": chosen.learning_rate,
            "engine": self.engine,
            "data": chosen.data,
        }

    @property
    def clients(self) -> tuple[ClientRecord, ...]:
        """Every client's record, in the order of the clients."""
        names = sorted({reply.client for reply in self.contributions}, key=int)
        return tuple(_record([reply for reply in self.contributions if reply.client == name]) for name in names)

    def document(self) -> dict[str, Any]:
        """The JSON document: numbers, text and None only."""
        verdicts = [asdict(reply) for reply in self.contributions]
        for verdict in verdicts:
            del verdict["refused"]
            # JSON knows no infinity, and a score written by someone else may be one.
            scores: dict[str, float] = verdict["scores"]
            verdict["scores"] = {name: value if math.isfinite(value) else None for name, value in scores.items()}
        return {
            "settings": self.settings,
            "hostile_clients": [str(client) for client in sorted(self.federation.hostile)],
            "runs": {name: figures(run) for name, run in self.runs.items()},
            "verdicts": verdicts,
            "detection": asdict(self.detection),
        }


def figures(run: Run) -> dict[str, Any]:
    """The figures of one run; None where it was stopped before there was one."""
    return {
        "accuracy": run.accuracy,
        "final_accuracy": final(run.accuracy),
        "worst_class_recall": final(run.worst_class_recall),
        "attack_success": final(run.attack_success),
        "seconds_per_round": run.seconds / run.rounds if run.rounds else None,
        "stopped": run.stopped,
    }


def final(values: Sequence[float | None]) -> float | None:
    """The mean of the last rounds, or None if there is nothing to average.

    >>> final([0.1, 0.5, 0.6, 0.7])
    0.6
    """
    last = [value for value in values[-LAST_ROUNDS:] if value is not None]
    return round(sum(last) / len(last), 12) if last else None


def _record(replies: Sequence[Contribution]) -> ClientRecord:
    rejections = [reply for reply in replies if not reply.accepted]
    reasons = Counter(_kind(reply) for reply in rejections)
    return ClientRecord(
        client=replies[0].client,
        hostile=replies[0].hostile,
        replies=len(replies),
        rejected=len(rejections),
        mean_weight=sum(reply.weight for reply in replies) / len(replies),
        usual_reason=reasons.most_common(1)[0][0] if reasons else "",
    )


def _kind(rejection: Contribution) -> str:
    """What a reason names without its figures, which differ from round to round: scores, or the kind of refusal."""
    return ", ".join(name for name in rejection.scores if name in rejection.reason) or rejection.reason.split(":")[0]


def contributions(run: Run, hostile: frozenset[int]) -> tuple[Contribution, ...]:
    """Every reply of a defended run, in the order of rounds and clients."""
    found: list[Contribution] = []
    for record in run.records:
        for client, verdict in record.verdicts.items():
            found.append(
                Contribution(
                    round=record.round,
                    client=str(client),
                    hostile=client in hostile,
                    accepted=verdict.accepted,
                    weight=verdict.weight,
                    p_value=verdict.p_value,
                    scores=verdict.scores,
                    reason=verdict.reason,
                )
            )
        for client, reason in record.refused.items():
            found.append(
                Contribution(record.round, str(client), client in hostile, False, 0.0, None, {}, reason, refused=True)
            )
    return tuple(sorted(found, key=lambda reply: (reply.round, int(reply.client))))
