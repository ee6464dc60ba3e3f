"""Recipes with names, chosen by measured evidence: see `docs/strength.md`; README has them as a table."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A recipe as text, without f, and when to use it."""

    recipe: str
    use: str


PRESETS: Mapping[str, Preset] = {
    "default": Preset(
        "shortened_mean; scores=length, agreement, similarity, signs; policy=alarm",
        "where nothing speaks for another one: as good as the mean without attack, few false alarms",
    ),
    "light": Preset(
        "trimmed_mean; scores=; policy=none",
        "where nobody is to be judged and only the update counts: the cheapest, no memory, no verdicts",
    ),
    "strict": Preset(
        "shortened_mean; scores=length, agreement, similarity, signs, consistency; policy=alarm(rate=0.2); "
        "reputation=sequential",
        "where an attack is feared more than false alarms: a lower bar, quarantine, and each client held to its own "
        "past, which keeps a vector as long as the model per client",
    ),
    "backdoor": Preset(
        "multi_krum; scores=length, similarity; policy=alarm(rate=0.3)",
        "where a hidden trigger is feared most: few clients are averaged, which costs accuracy with unlike data",
    ),
    "trusted-root": Preset(
        "shortened_mean; scores=length, agreement, similarity, signs, trust; policy=alarm(rate=0.1)",
        "where the server has about a hundred examples of its own (`root-examples`) to train an update on",
    ),
}
