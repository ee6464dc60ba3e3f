"""Attacks on the Flower message that carries a hostile client's update: one reply in, the replies that arrive out."""

from __future__ import annotations

from flwr.app import Message
from hawthorn.strategies.contract import attack, nearest
from hawthorn.strategies.errors import SettingError

from .forging import with_examples
from .malformed import MALFORMED


@attack
def lie_about_counts(reply: Message, *, count: float = 1_000_000) -> list[Message]:
    """The reply with a claim to have trained on `count` examples, by which a mean weighted by claims weighs it.

    Portnoy, Tirosh, Hendler, "Towards federated learning with Byzantine-robust client weighting", 2020,
    https://arxiv.org/abs/2004.04986

    >>> from .forging import metrics_in, sample_reply
    >>> [metrics_in(lie)["num-examples"] for lie in lie_about_counts(sample_reply(), count=5000)]
    [5000]
    """
    if isinstance(count, bool) or not isinstance(count, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]  # a recipe is text
        raise SettingError(f"lie_about_counts needs a number as count, got {count!r}")
    if reply.has_error() or not reply.content.metric_records:
        return [reply]
    return with_examples(reply, count)


@attack
def malformed(reply: Message, *, case: str = "all_nan") -> list[Message]:
    """What arrives in the place of the reply: one of the catalog of bad replies, `malformed.MALFORMED`, by its name.

    A Byzantine client may send anything: Blanchard et al., NeurIPS 2017, https://arxiv.org/abs/1703.02757

    >>> from .forging import sample_reply
    >>> len(malformed(sample_reply(), case="twice")), len(malformed(sample_reply(), case="silence"))
    (2, 0)
    """
    if case not in MALFORMED:
        raise SettingError(f"malformed has no case {case!r}; {nearest(str(case), list(MALFORMED))}")
    return [reply] if reply.has_error() else MALFORMED[case](reply)
