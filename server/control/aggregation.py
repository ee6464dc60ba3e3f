"""The Aggregation service: a round's updates in, verdicts and the robust aggregate out."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from grpc import StatusCode
from hawthorn.strategies import AuditError, Outcome
from hawthorn.strategies.reputation import quarantined
from hawthorn.strategies.rows import saved

from .calls import Call
from .chunks import chunks_of
from .hawthorn_pb2 import (
    AskReply,
    AskRequest,
    Begin,
    ForgetReply,
    ForgetRequest,
    Judgement,
    OpenReply,
    OpenRequest,
    RoundReply,
    RoundRequest,
    Verdict,
)
from .intake import Intake
from .keeping import Answer, Kept
from .limits import Limits
from .plan import Plan
from .refusal import Refusal
from .sessions import Session, Sessions

logger = logging.getLogger(__name__)


class Aggregation:
    """The methods of the service, over the open sessions."""

    def __init__(self, sessions: Sessions, limits: Limits) -> None:
        self.sessions, self.limits = sessions, limits

    def methods(self) -> dict[str, Any]:
        """The methods by their names in the service."""
        return {"Open": self.open, "Ask": self.ask, "Round": self.round, "Forget": self.forget}

    def open(self, request: OpenRequest, call: Call) -> OpenReply:
        """What a session takes, and how many rounds it has held."""
        plan = Plan.of(request, self.limits)
        session = self.sessions.open(call.caller.name, request.session, plan)
        return OpenReply(
            defense=str(plan.defense),
            rounds=session.kept.rounds,
            chunk_bytes=self.limits.chunk,
            update_bytes=plan.update_bytes,
            idle_seconds=self.limits.idle_seconds,
        )

    def ask(self, request: AskRequest, call: Call) -> AskReply:
        """Which clients should be asked in the next round."""
        names = list(request.clients)
        if len(set(names)) != len(names) or len(names) > self.limits.clients:
            raise Refusal(StatusCode.INVALID_ARGUMENT, f"expected at most {self.limits.clients} names that all differ")
        session = self.sessions.of(call.caller.name, request.session)
        with session.held():
            return AskReply(clients=session.ask(names))

    def forget(self, request: ForgetRequest, call: Call) -> ForgetReply:
        """How many rounds the session held that is forgotten now."""
        return ForgetReply(rounds=self.sessions.forget(call.caller.name, request.session))

    def round(self, parts: Iterator[RoundRequest], call: Call) -> Generator[RoundReply]:
        """The answer of a round, piece by piece."""
        first = next(parts, RoundRequest())
        if first.WhichOneof("part") != "begin":
            raise Refusal(StatusCode.INVALID_ARGUMENT, "a round begins with `begin`")
        session = self.sessions.of(call.caller.name, first.begin.session)
        with session.held():
            answer = self._answer(session, first.begin, parts)
            yield RoundReply(judgement=answer.judgement)
            yield from self._chunks(answer, call)

    def _answer(self, session: Session, begin: Begin, parts: Iterator[RoundRequest]) -> Answer:
        """The answer of the round held last, if it is that which is begun, or of the next one."""
        rounds, last = session.kept.rounds, session.kept.answer
        if begin.round == rounds and last is not None:
            return last
        if begin.round != rounds + 1:
            raise Refusal(
                StatusCode.FAILED_PRECONDITION, f"{rounds} rounds were held: round {begin.round} is not the next one"
            )
        intake = Intake(session, self.limits)
        for part in parts:
            kind = part.WhichOneof("part")
            if kind == "chunk":
                intake.take(part.chunk)
            elif kind == "update":
                intake.begin(part.update)
            elif kind == "end":
                intake.finish()
                return self._held(session, intake)
            else:
                raise Refusal(StatusCode.INVALID_ARGUMENT, "a round goes on with `update`, `chunk` or `end`")
        raise Refusal(StatusCode.INVALID_ARGUMENT, "the updates ended without `end`: nothing was judged")

    def _held(self, session: Session, intake: Intake) -> Answer:
        """The answer of a round whose updates are all there; the session remembers it when this returns."""
        number, state = session.kept.rounds + 1, session.kept.state
        missing = [name for name in ("trusted", "model") if name in session.plan.defense.asked - set(intake.own)]
        if missing:
            skipped = f"the defense asks for the {missing[0]} row, and none was sent"
            answer = _unjudged(number, intake, skipped)
        elif not intake.clients:
            answer = _unjudged(number, intake, "no update was admitted")
        else:
            outcome = _outcome(session, intake)
            state = outcome.state
            answer = _judged(number, intake, outcome, session.plan.dtype)
        answer.judgement.quarantined.extend(sorted(quarantined(state)))
        kept = Kept(number, state, answer)
        if self.sessions.shelf is not None:
            try:
                self.sessions.shelf.save(session.owner, session.name, session.plan, kept)
            except AuditError as error:
                words = f"the round was judged but cannot be kept, and does not count: {error}"
                raise Refusal(StatusCode.UNAVAILABLE, words) from error
        session.kept, session.left_out = kept, frozenset()
        logger.info(
            "%s, session %s, round %d: %d updates, %d refused",
            session.owner,
            session.name,
            number,
            len(intake.clients),
            len(intake.refused),
        )
        return answer

    def _chunks(self, answer: Answer, call: Call) -> Generator[RoundReply]:
        if answer.aggregate is None:
            return
        for chunk in chunks_of(answer.aggregate, self.limits.chunk):
            call.check()
            yield RoundReply(chunk=chunk)


def _outcome(session: Session, intake: Intake) -> Outcome:
    plan = session.plan
    return plan.defense(
        session.updates,
        clients=intake.clients,
        state=session.kept.state,
        trusted=intake.own.get("trusted"),
        model=intake.own.get("model"),
        bounds=list(plan.bounds) or None,
        weights=intake.weights if plan.weighted else None,
        left_out=len(session.left_out.difference(intake.clients)),
    )


def _unjudged(number: int, intake: Intake, skipped: str) -> Answer:
    return Answer(Judgement(round=number, refused=intake.refused, skipped=skipped), None)


def _judged(number: int, intake: Intake, outcome: Outcome, dtype: str) -> Answer:
    verdicts = [
        Verdict(
            client=name,
            admitted=True,
            accepted=verdict.accepted,
            weight=verdict.weight,
            p_value=verdict.p_value,
            scores=verdict.scores,
            reason=verdict.reason,
            standing=verdict.standing,
            round=number,
        )
        for name, verdict in zip(intake.clients, outcome.verdicts, strict=True)
    ]
    judgement = Judgement(round=number, verdicts=verdicts, refused=intake.refused, skipped=outcome.skipped or "")
    answer = Answer(judgement, None if outcome.update is None else saved(outcome.update).astype(dtype, copy=False))
    if answer.aggregate is not None and not np.isfinite(answer.aggregate).all():
        judgement.skipped = f"the robust update does not fit {dtype}"
        answer = replace(answer, aggregate=None)
    judgement.aggregate_bytes = 0 if answer.aggregate is None else answer.aggregate.nbytes
    return answer
