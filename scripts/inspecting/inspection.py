"""What a defense says of saved updates, round after round."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hawthorn.strategies import Defense, Geometry, Outcome, SettingError, Updates, Verdict
from hawthorn.strategies.flower.admission import Refused

from .embedding import Embedding, embedding
from .layout import Layout, Sent, agreed, written
from .reading import LONE, Array, arrays_in, unreadable
from .rounds import Round, signatures

WORDS = ("accepted", "unused", "rejected")


@dataclass(frozen=True)
class Client:
    """One client of the last round: its verdict, also in a word of `WORDS`, and the length of its update.

    "unused" is accepted and left out by the rule.
    """

    name: str
    verdict: Verdict
    word: str
    length: float


@dataclass(frozen=True)
class Past:
    """How often a client's file was there, how often the policy rejected it, and how often it could not be used."""

    seen: int = 0
    rejected: int = 0
    refused: int = 0


@dataclass(frozen=True, eq=False)
class Inspection:
    """The last round's verdicts, and the past of all clients; there is at least one round.

    `layout` is that of the update; `names` are the clients' whose files were admitted, in the order of the outcome's
    rows; `outcome` is None where no file was. `skipped` says why there is no update.
    """

    settings: Mapping[str, Any]
    defense: str
    rounds: tuple[str, ...]
    layout: Layout | None
    names: tuple[str, ...]
    outcome: Outcome | None
    refused: Mapping[str, str]
    past: Mapping[str, Past]
    f: int

    @property
    def last(self) -> str:
        """The name of the last round."""
        return self.rounds[len(self.rounds) - 1]

    @property
    def skipped(self) -> str | None:
        """Why there is no update, None where there is one."""
        return "no file could be used" if self.outcome is None else self.outcome.skipped

    @property
    def update(self) -> Array | None:
        """The update `(d,)`."""
        return None if self.outcome is None else self.outcome.update

    @property
    def update_length(self) -> float | None:
        """The length of the update."""
        return None if self.update is None else float(Geometry.of(self.update[None]).norms[0])

    @property
    def clients(self) -> list[Client]:
        """The clients whose files were admitted."""
        if self.outcome is None:
            return []
        lengths = self.outcome.geometry.norms.tolist()
        return [
            Client(name, verdict, _word(verdict, self.outcome.skipped is not None), length)
            for name, verdict, length in zip(self.names, self.outcome.verdicts, lengths, strict=True)
        ]

    def embedding(self) -> Embedding | None:
        """The clients in the plane."""
        return None if self.outcome is None else embedding(self.outcome.geometry)

    def document(self) -> dict[str, Any]:
        """All of it as plain data."""
        geometry = None if self.outcome is None else self.outcome.geometry
        points = self.embedding()
        return {
            "settings": {"defense": self.defense, **self.settings},
            "rounds": list(self.rounds),
            "clients": [
                {
                    "name": client.name,
                    "accepted": client.verdict.accepted,
                    "weight": client.verdict.weight,
                    "p_value": client.verdict.p_value,
                    "scores": client.verdict.scores,
                    "reason": client.verdict.reason,
                    "length": client.length,
                }
                for client in self.clients
            ],
            "refused": [{"name": name, "reason": reason} for name, reason in self.refused.items()],
            "past": {name: vars(past) for name, past in self.past.items()},
            "geometry": geometry
            and {
                "cosines": geometry.cosines.tolist(),
                "squared_distances": geometry.squared_distances.tolist(),
                "scale": geometry.scale.tolist(),
                "embedding": points and points.document(),
            },
            "update": None if self.update is None else {"length": self.update_length},
            "skipped": self.skipped,
        }


def inspected(
    rounds: Sequence[Round],
    defense: Defense,
    *,
    flat: bool = False,
    models: Sequence[Sent] = (),
    trusted: Path | None = None,
    memory: str | None = None,
    spool: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Inspection:
    """What the defense says of the rounds, its state carried from one to the next; raises `SettingError`.

    Files are read one at a time into rows, which lie in memory or, above `memory`, in a file in `spool`. `models` are
    those that were sent, one for each round, where the files are whole models; `flat` says that rows are vectors.
    """
    found = [signatures(one) for one in rounds]
    usable = [sent for sents, _ in found for sent in sents.values()]
    layout = _layout(usable, [model.layout for model in models], flat)
    past: dict[str, Past] = {}
    names: tuple[str, ...] = ()
    outcome: Outcome | None = None
    refused: dict[str, str] = {}
    updates = state = None
    for place, (one, (_, unreadable_ones)) in enumerate(zip(rounds, found, strict=True)):
        refused, names, outcome = dict(unreadable_ones), (), None
        sent = models[place].row if models else None
        if layout is not None:
            if updates is None:
                most = max(len(each.clients) for each in rounds)
                updates = Updates(most, layout.width, layout.dtype, memory=memory, spool=spool)
            names = _admitted(one, layout, sent, updates, refused)
            refused = {client.name: refused[client.name] for client in one.clients if client.name in refused}
        if layout is not None and updates is not None and names:
            whole = models[place].layout if models else layout
            own = None if trusted is None else _trusted(trusted, layout, sent, flat)
            outcome = defense(updates, clients=names, state=state, trusted=own, model=sent, bounds=whole.bounds)
            state = outcome.state
        past = _after(past, names, outcome, refused)
    return Inspection(
        settings=settings or {},
        defense=str(defense),
        rounds=tuple(one.name for one in rounds),
        layout=models[-1].layout if models else layout,
        names=names,
        outcome=outcome,
        refused=refused,
        past=past,
        f=0 if not names else _count(defense, len(names)),
    )


def _word(verdict: Verdict, skipped: bool) -> str:
    if not verdict.accepted:
        return "rejected"
    return "accepted" if verdict.weight > 0 or skipped else "unused"


def _count(defense: Defense, n: int) -> int:
    from hawthorn.strategies.contract import hostile_count

    return hostile_count(defense.f, n)


def _layout(usable: Sequence[Any], models: Sequence[Layout], flat: bool) -> Layout | None:
    """The layout of the files, the model's where there is one; None where there is no file; raises `SettingError`."""
    if not models:
        return agreed(usable) if usable else None
    fault = next((model.fault(_claims(models[0])) for model in models if model.fault(_claims(models[0]))), None)
    if fault:
        raise SettingError(f"--model must be models of one layout: {fault}")
    if not flat:
        return models[0]
    model = models[0]
    return Layout.of({LONE: (str(model.dtype), (model.width,))})


def _claims(layout: Layout) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (place.dtype, place.shape) for name, place in layout.places.items()}


def _admitted(
    one: Round, layout: Layout, sent: Array | None, updates: Updates, refused: dict[str, str]
) -> tuple[str, ...]:
    """The names of the clients whose rows are now in `updates`; those of the others are added to `refused`."""
    updates.clear()
    names: list[str] = []
    for client in one.clients:
        if client.name in refused:
            continue
        try:
            layout.write(client.arrays(), sent, updates.next)
        except (Refused, SettingError) as refusal:
            refused[client.name] = str(refusal)
        except Exception as error:  # a file may be broken behind its header
            refused[client.name] = unreadable(error)
        else:
            updates.keep()
            names.append(client.name)
    return tuple(names)


def _trusted(path: Path, layout: Layout, sent: Array | None, flat: bool) -> Array:
    """The server's own update, read as clients' files are; raises `SettingError`."""
    row = np.empty(layout.width, layout.dtype)
    try:
        if not flat:
            layout.write(arrays_in(path), sent, row)
            return row
        own = Sent.read(path, "--trusted").row
        if own.shape != row.shape:
            raise Refused(f"it must hold {layout.width} numbers, got {len(own)}")
        if not written(own, sent, row):
            raise Refused(f"the numbers must fit {row.dtype}")
    except Refused as refusal:
        raise SettingError(f"--trusted {str(path)!r}: {refusal}") from None
    except (OSError, zipfile.BadZipFile) as error:  # broken behind its header
        raise SettingError(f"--trusted {str(path)!r}: {unreadable(error)}") from None
    return row


def _after(
    past: Mapping[str, Past], names: Sequence[str], outcome: Outcome | None, refused: Mapping[str, str]
) -> dict[str, Past]:
    """The clients' past after a round."""
    found = dict(past)
    verdicts = () if outcome is None else outcome.verdicts
    rejected = {name for name, verdict in zip(names, verdicts, strict=True) if not verdict.accepted}
    for name in [*names, *refused]:
        one = found.get(name, Past())
        found[name] = Past(one.seen + 1, one.rejected + (name in rejected), one.refused + (name in refused))
    return found
