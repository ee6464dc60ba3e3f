"""Sessions on the disk: what a session remembers, and its last answer, so that both outlive the server."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from grpc import StatusCode
from hawthorn.strategies import AuditError, SettingError
from hawthorn.strategies.flower import Memory
from numpy.typing import NDArray

from ..checkpoints import load_memory, save_memory
from ..files import made_folder, thin
from .hawthorn_pb2 import Judgement
from .plan import Plan
from .refusal import Refusal

logger = logging.getLogger(__name__)

INDEX = "session.json"
MOST = 1000  # sessions on the disk


@dataclass(frozen=True, eq=False)
class Answer:
    """What a round came to, and its aggregate `(d,)` unless it was skipped."""

    judgement: Judgement
    aggregate: NDArray[Any] | None


@dataclass(frozen=True, eq=False)
class Kept:
    """What a session goes on from: the rounds held, the defense's state after them, and the last answer."""

    rounds: int = 0
    state: dict[str, Any] | None = None
    answer: Answer | None = None


class Shelf:
    """A folder of sessions; each has one of its own, whose index is replaced when all that it names is there.

    Use as a context manager: meanwhile no other server has the folder, which would undo the rounds of this one. Raises
    `SettingError` where another one has it.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = made_folder(Path(folder))

    def __enter__(self) -> Shelf:
        self._locked = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._locked)
            raise SettingError(f"another server keeps its sessions in {self.folder}: write another folder") from error
        except OSError as error:
            logger.warning("cannot lock %s (%s): let no other server use it", self.folder, error.strerror)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._locked)

    def load(self, owner: str, name: str, plan: Plan) -> Kept:
        """What was kept of a session, nothing for a new one; raises `Refusal` where that was for another plan."""
        folder = self._folder(owner, name)
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        except FileNotFoundError:
            if sum(1 for _ in self.folder.iterdir()) >= MOST:
                raise Refusal(StatusCode.RESOURCE_EXHAUSTED, f"{MOST} sessions are kept: forget some first") from None
            return Kept()
        except (OSError, ValueError) as error:
            raise AuditError(f"cannot read {folder / INDEX}: {error}") from error
        if index["plan"] != str(plan):
            raise Refusal(
                StatusCode.FAILED_PRECONDITION,
                f"session {name!r} is kept for {index['plan']}: forget it first, or write another name",
            )
        memory = load_memory(folder, index["memory"])
        judgement = Judgement.FromString(memory.inner["judgement"].tobytes())
        return Kept(index["rounds"], memory.defense, Answer(judgement, memory.inner.get("aggregate")))

    def save(self, owner: str, name: str, plan: Plan, kept: Kept) -> None:
        """Keep a session as it is after a round; raises `AuditError`, and then what was kept before still is."""
        assert kept.answer is not None
        folder = made_folder(self._folder(owner, name))
        inner: dict[str, Any] = {"judgement": np.frombuffer(kept.answer.judgement.SerializeToString(), np.uint8)}
        if kept.answer.aggregate is not None:
            inner["aggregate"] = kept.answer.aggregate
        digest = save_memory(folder, Memory(defense=kept.state, inner=inner))
        index = {"owner": owner, "name": name, "plan": str(plan), "rounds": kept.rounds, "memory": digest}
        partial = folder / f"{INDEX}.partial"
        try:
            with partial.open("w", encoding="utf-8") as file:
                json.dump(index, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(folder / INDEX)
            made_folder(folder)  # which syncs the parent, where the folder's name is
        except OSError as error:
            raise AuditError(f"cannot write {folder / INDEX}: {error.strerror}") from error
        thin(folder, {digest})

    def forget(self, owner: str, name: str) -> int | None:
        """The rounds of a session of which nothing more is kept; None where nothing was, 0 where it cannot be read."""
        folder = self._folder(owner, name)
        if not folder.exists():
            return None
        try:
            rounds = int(json.loads((folder / INDEX).read_text(encoding="utf-8"))["rounds"])
        except (OSError, ValueError, LookupError, TypeError):
            rounds = 0
        shutil.rmtree(folder, ignore_errors=True)
        return rounds

    def _folder(self, owner: str, name: str) -> Path:
        return self.folder / hashlib.sha256(f"{owner}\0{name}".encode()).hexdigest()[:40]
