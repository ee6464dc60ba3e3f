"""What the search may try: every attack that fits a task, how attacks go together, and between which bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hawthorn.client.attacks import Recipe
from hawthorn.strategies.contract import ATTACKS, Call


@dataclass(frozen=True)
class Factor:
    """Any number from `low` to `high`, where tenfold is as far at both ends; three digits of it count."""

    low: float
    high: float

    def holds(self, value: Any) -> bool:
        """Whether the value is one of them."""
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int

    def holds(self, value: Any) -> bool:
        """Whether the value is one of them."""
        return isinstance(value, int) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of some values, none of which is between two others."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether the value is one of them."""
        return value in self.values


Domain = Factor | Whole | Choice
Draw = Callable[[str, Domain], Any]
"""The value of a parameter, by its name, from its domain."""

# How hostile clients come by what they send. Some send what they have learned, as it is or made larger or alike, and
# are nothing without a lesson; `TRAINED` sends it as it is.
TRAINED = "trained"
OF_A_LESSON = (TRAINED, "model_replacement", "sybil")
BOUNDED = ("min_max", "min_sum")  # of a lesson too, in their direction "own"
UPDATES = (
    *OF_A_LESSON,
    *BOUNDED,
    "sign_flip",
    "gaussian",
    "free_rider",
    "ipm",
    "alie",
    "fang",
    "mimic",
    "optimized",
)
ALIKE = ("sybil", *BOUNDED, "ipm", "alie", "fang", "mimic", "optimized")  # all send the same, unless they jitter
UNSCALED = ("sybil", *BOUNDED, "fang", "mimic")  # have no factor of their own, so model_replacement may give them one
# What they learn. Those that teach other labels have a wish, which neurotoxin makes last.
WISHES = ("label_flip", "targeted_flip", "backdoor", "dba", "clean_label")
LESSONS = (*WISHES, "feature_noise", "sponge")
ALWAYS = "always"
TIMES = ("sleeper", "schedule")

EXCLUDED: Mapping[str, str] = {
    "lie_about_counts": "defenses weigh nobody by what it claims; tried as a known attack",
    "malformed": "what is malformed is refused before any defense sees it; tried as a known attack",
}

SHARE = Choice((0.1, 0.25, 0.5, 1.0))
OPTIONS: Mapping[str, Mapping[str, Domain]] = {
    "targeted_flip": {"share": SHARE},
    "backdoor": {"share": SHARE, "trigger": Choice(("patch", "pixels", "blended"))},
    "dba": {"share": SHARE},
    "clean_label": {"share": SHARE, "weaken": Choice((0.3, 0.5, 0.7, 1.0))},
    "feature_noise": {"share": SHARE, "scale": Factor(0.3, 10)},
    "sponge": {"strength": Factor(0.5, 50)},
    "neurotoxin": {"share": Choice((0.01, 0.05, 0.2))},
    "sign_flip": {"scale": Factor(0.1, 100)},
    "gaussian": {"scale": Factor(0.3, 300)},
    "free_rider": {"sends": Choice(("nothing", "moved")), "noise": Choice((0.0, 0.3, 1.0, 3.0))},
    "model_replacement": {"boost": Factor(0.3, 30)},
    "ipm": {"epsilon": Factor(0.03, 30)},
    "alie": {"z": Factor(0.1, 10)},
    "min_max": {"direction": Choice(("unit", "std", "sign", "own"))},
    "min_sum": {"direction": Choice(("unit", "std", "sign", "own"))},
    "fang": {"against": Choice(("krum", "trimmed_mean", "median")), "b": Factor(1.1, 10)},
    "mimic": {"warmup": Choice((1, 3, 10))},
    "optimized": {"family": Choice(("ipm", "alie", "unseen")), "most": Factor(1, 30)},
    "jitter": {"share": Factor(0.01, 2)},
}
OWN = Choice(("own",))
CLASSES = ("source", "target")  # options that name one of the task's classes
STRENGTHS = ("share", "weaken")  # options of a lesson that leave open what it wishes for


@dataclass(frozen=True, order=True)
class Candidate:
    """An attack as a recipe, and how many clients carry it out."""

    attack: str
    hostile: int

    @property
    def family(self) -> str:
        """The attacks it is made of, without options, and without when and how uneven.

        >>> Candidate("backdoor(share=0.5) + min_max(direction='own') + jitter + sleeper(wakes=4)", 2).family
        'backdoor + min_max'
        """
        names = [call.name for call in Recipe.parse(self.attack).calls]
        return " + ".join(name for name in names if name not in {"jitter", *TIMES})


class Outside(Exception):  # noqa: N818 - no error: most attacks are outside
    """What somebody wrote is not in the space."""


@dataclass(frozen=True)
class Space:
    """The attacks of one search: `least` to `most` of `clients` are hostile, for `rounds`, on a task with `classes`.

    `lessons` and `updates` are those that fit the task. With `wishes`, only attacks with a wish are in it, with `wish`
    those that have this one; then a lesson's strength alone is left to search. `lasting` says whether neurotoxin may
    make a lesson last.
    """

    clients: int
    classes: int
    rounds: int
    least: int
    most: int
    lessons: tuple[str, ...] = LESSONS
    updates: tuple[str, ...] = UPDATES
    lasting: bool = True
    wish: Call | None = None
    wishes: bool = False

    def wishing_for(self, wish: Call | None) -> Space:
        """The part of the space whose attacks have this wish, or any."""
        updates = tuple(name for name in self.updates if name in {*OF_A_LESSON, *BOUNDED})
        return replace(self, lessons=(wish.name,) if wish else WISHES, updates=updates, wish=wish, wishes=True)

    def candidate(self, draw: Draw) -> Candidate:
        """The candidate that the drawn values make; what is asked next depends on what was drawn before.

        >>> space = Space(clients=10, classes=10, rounds=20, least=1, most=3)
        >>> space.candidate(lambda name, domain: domain.values[0] if isinstance(domain, Choice) else domain.high)
        Candidate(attack='label_flip', hostile=3)
        """
        hostile = draw("hostile", Whole(self.least, self.most))
        update = draw("update", Choice(self.updates))
        sent = [] if update == TRAINED else [self._call(update, draw)]
        learns = update in OF_A_LESSON or any(dict(call.options).get("direction") == "own" for call in sent)
        calls = [*(self._learned(draw) if learns else []), *sent]
        if update in UNSCALED and draw("stretched", Choice((False, True))):
            calls.append(self._call("model_replacement", draw))
        if update in ALIKE and draw("jitters", Choice((False, True))):
            calls.append(self._call("jitter", draw))
        when = draw("when", Choice((ALWAYS, *TIMES) if self.rounds >= 4 else (ALWAYS,)))
        if when != ALWAYS:
            calls.append(self._call(when, draw))
        return Candidate(" + ".join(map(str, calls)), hostile)

    def start(self, **answers: Any) -> Candidate:
        """A candidate with these values, and the attacks' defaults for all others."""

        def draw(name: str, domain: Domain) -> Any:
            value = self._usual(name, answers)
            if domain.holds(value):
                return value
            return domain.values[0] if isinstance(domain, Choice) else domain.low

        return self.candidate(draw)

    def parameters(self, known: Candidate) -> dict[str, tuple[Domain, Any]] | None:
        """The parameters that make a known attack, each with its domain; None for one that the space has not.

        >>> space = Space(clients=10, classes=10, rounds=20, least=1, most=3)
        >>> space.parameters(Candidate("ipm(epsilon=0.5)", 3))["ipm.epsilon"]
        (Factor(low=0.03, high=30), 0.5)
        >>> space.parameters(Candidate("ipm(epsilon=500)", 3)), space.parameters(Candidate("label_flip + ipm", 3))
        (None, None)
        """
        calls = Recipe.parse(known.attack).calls
        names = [call.name for call in calls]
        update = next((name for name in names if name in UPDATES), TRAINED)
        answers: dict[str, Any] = {f"{call.name}.{option}": value for call in calls for option, value in call.options}
        answers |= {
            "hostile": known.hostile,
            "update": update,
            "lesson": next((name for name in names if name in LESSONS), LESSONS[0]),
            "lasts": "neurotoxin" in names,
            "stretched": "model_replacement" in names and update != "model_replacement",
            "jitters": "jitter" in names,
            "when": next((name for name in names if name in TIMES), ALWAYS),
        }
        found: dict[str, tuple[Domain, Any]] = {}

        def draw(name: str, domain: Domain) -> Any:
            value = self._usual(name, answers)
            if not domain.holds(value):
                raise Outside
            found[name] = (domain, value)
            return value

        try:
            made = Recipe.parse(self.candidate(draw).attack).calls
        except Outside:
            return None
        same = names == [call.name for call in made] and all(
            set(call.options) <= set(drawn.options) for call, drawn in zip(calls, made, strict=True)
        )
        return found if same else None

    def _learned(self, draw: Draw) -> list[Call]:
        """What hostile clients train on and how."""
        lesson = draw("lesson", Choice(self.lessons))
        calls = [self._call(lesson, draw)]
        if self.lasting and lesson in WISHES and draw("lasts", Choice((False, True))):
            calls.append(self._call("neurotoxin", draw))
        return calls

    def _call(self, name: str, draw: Draw) -> Call:
        """The attack with its options drawn."""
        written = dict(self.wish.options) if self.wish and self.wish.name == name else {}
        options: dict[str, Any] = written | {
            option: _drawn(draw, f"{name}.{option}", domain)
            for option, domain in self._domains(name).items()
            if option not in written
        }
        if options.get("source") is not None and options["source"] == options.get("target"):
            options["source"] = (options["target"] + 1) % self.classes
        return Call(name, tuple(sorted(options.items())))

    def _domains(self, name: str) -> Mapping[str, Domain]:
        """The options that are searched, each with its domain."""
        half = max(2, self.rounds // 2)
        if name == "sleeper":
            return {"wakes": Whole(2, half)}
        if name == "schedule":
            return {"every": Whole(2, 4), "start": Whole(1, half)}
        found = dict(OPTIONS.get(name, {}))
        if self.wishes and name in BOUNDED:
            found["direction"] = OWN
        if self.wish and self.wish.name == name:
            return {option: domain for option, domain in found.items() if option in STRENGTHS}
        if name in LESSONS:
            options = {"target"} if name == "backdoor" else ATTACKS[name].options.keys()
            found |= {option: Choice(tuple(range(self.classes))) for option in CLASSES if option in options}
        return found

    def _usual(self, name: str, answers: Mapping[str, Any]) -> Any:
        """The value of a parameter: the answer, or what is usual; None where nothing is."""
        usual = {
            "hostile": self.most,
            "update": TRAINED,
            "lesson": self.lessons[0],
            "when": ALWAYS,
            "model_replacement.boost": self.clients / self.most,  # what it takes to replace a mean
        }
        attack, _, option = name.partition(".")
        default = ATTACKS[attack].options[option] if option else False
        return answers.get(name, usual.get(name, default))


def _drawn(draw: Draw, name: str, domain: Domain) -> Any:
    """The value drawn, numbers as short as a recipe should be."""
    value = draw(name, domain)
    return (
        min(max(float(f"{value:.3g}"), float(domain.low)), float(domain.high)) if isinstance(domain, Factor) else value
    )
