"""The settings of a federation: one table, read from Flower's run config.

Each field of `Settings` is a setting: its default, what it must be and what it means stand beside it. `pyproject.toml`
declares the same names and defaults under `[tool.flwr.app.config]`, because `flwr run -c` overrides only declared keys.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
from hawthorn.strategies import Defense, SettingError
from hawthorn.strategies.contract import attackers, hostile_count, nearest
from hawthorn.strategies.defense import refuse_weights
from hawthorn.strategies.flower.wrapped import replies_needed
from hawthorn.strategies.updates import byte_count

from .checks import checks
from .inner import inner_strategy
from .kinds import (
    Kind,
    Scalar,
    count_or_part,
    count_or_share,
    examples,
    function_name,
    number,
    quorum_of,
    rounds_kept,
    text,
    tolerated,
    vetting_of,
    whole,
    writable_directory,
    yes_or_no,
)

ROOT = "hawthorn.client.provider:root"


@dataclass(frozen=True)
class Setting:
    """One row of the table; `name` is the key in the run config."""

    name: str
    default: Scalar
    kind: Kind
    meaning: str


def setting(default: Scalar, kind: Kind, meaning: str) -> Any:
    """A field of `Settings`."""
    return field(default=default, metadata={"kind": kind, "meaning": meaning})


@dataclass(frozen=True)
class Settings:
    """The settings of one federation.

    >>> settings = Settings.parse({"rounds": 3, "tolerated": 2})
    >>> settings.rounds, settings.f
    (3, 2)
    """

    task: str = setting(
        "digits",
        text("a task such as 'digits'"),
        "what is learned: `digits`, `breast_cancer`, `mnist`, `cifar10`, `gtsrb`, `pneumonia_mnist`, `sms_spam`, "
        "`creditcard_fraud`, `heart_disease`, or `npz` with `data`; with options, `mnist(network='mlp', train=10000)`",
    )
    data: str = setting(
        "",
        text("a path", empty=True),
        "`.npz` file with `x_train, y_train, x_test, y_test`, or a folder that holds `TASK.npz`; empty: the folder "
        "`$HAWTHORN_DATA`, then a download",
    )
    partition: str = setting(
        "dirichlet(0.5)",
        text("a partition such as 'iid'"),
        "how examples are split over the clients: `iid`; `dirichlet(a)`, more uneven the smaller `a` is; `sorted` by "
        "label, or `sorted_honest`, so among the honest alone; `natural`, a group such as a hospital each",
    )
    seed: int = setting(1, whole(least=0), "start of every random choice")
    rounds: int = setting(20, whole(least=1), "rounds of training")
    clients: int = setting(10, whole(least=1), "nodes expected; the first round waits for them")
    wait: float = setting(60.0, number(least=0), "seconds to wait for the expected nodes before the run fails")
    reply_timeout: float = setting(3600.0, number(least=0, above=True), "seconds a round waits for replies")
    hostile: int = setting(
        0, count_or_part(), "clients that attack, in a simulated attack: a count, or a share such as 0.3, rounded up"
    )
    attack: str = setting(
        "",
        text("an attack such as 'sign_flip'", empty=True),
        "what they do, such as `sign_flip` or `backdoor(target=0) + model_replacement`; empty for nothing",
    )
    tolerated: str = setting(
        "0.2", count_or_share(), "hostile clients the defense bears: a count, or a share of the replies"
    )
    defense: str = setting(
        Defense().rule,
        text("a defense such as 'nnm | trimmed_mean'", Defense.parse),
        "the defense: `transform | ... | rule`, and after semicolons `scores=...` and `policy=...`",
    )
    weighted_by: str = setting(
        "",
        text("'examples'", examples, empty=True),
        "what weighs the clients in the rule: `examples`, the counts they claim, of which none counts more than four "
        "times their median; empty for nothing",
    )
    root_examples: int = setting(
        0,
        whole(least=0),
        "training examples, drawn at random, that no client gets: the server trains an update of its own on them, for "
        "defenses that ask for one (`fltrust`)",
    )
    inner: str = setting(
        "fedavg",
        text("a strategy such as 'fedavg'", inner_strategy),
        "Flower strategy that gets the trusted update, with options: `fedadam(eta=0.01)`",
    )
    local_epochs: int = setting(2, whole(least=1), "epochs a client trains in a round")
    local_steps: int = setting(0, whole(least=0), "training steps a client takes in a round at most; 0 for no limit")
    batch_size: int = setting(32, whole(least=1), "examples in one training step of a client")
    learning_rate: float = setting(0.1, number(least=0, above=True), "learning rate of the clients")
    learning_rate_decay: float = setting(
        1.0, number(least=0, most=1, above=True), "what the learning rate is multiplied by after every round"
    )
    momentum: float = setting(
        0.0, number(least=0, most=0.999), "momentum of the clients' training, from nothing in each round"
    )
    client_momentum: float = setting(
        0.0,
        number(least=0, most=0.999),
        "share of its updates before in what a client sends: m = share * m + (1 - share) * update, round by round",
    )
    fraction_train: float = setting(1.0, number(least=0, most=1, above=True), "share of the nodes that train per round")
    fraction_evaluate: float = setting(1.0, number(least=0, most=1), "share of the nodes that evaluate after a round")
    evaluate_every: int = setting(
        1, whole(least=1), "rounds from one evaluation on the holdout to the next; `rounds` is a multiple of it"
    )
    model: str = setting(
        "hawthorn.client.provider:initial_arrays",
        text("a function as 'package.module:function'", function_name),
        "function of the run config that gives the initial model, an `ArrayRecord`",
    )
    holdout: str = setting(
        "hawthorn.client.provider:holdout",
        text("a function as 'package.module:function'", function_name, empty=True),
        "function of the run config that gives `evaluate(round, arrays)` on data the server has; empty for none",
    )
    guard: str = setting(
        "",
        text("a guard such as 'holdout'", checks, empty=True),
        "what looks at a round's model before it is taken: `holdout`, `clients` or `holdout + clients`, with options "
        "as in `holdout(tolerance=0.05)`; empty for nothing",
    )
    root: str = setting(
        ROOT,
        text("a function as 'package.module:function'", function_name),
        "function of the run config that gives `trained(round, arrays)`, the model after the server's own training",
    )
    memory: str = setting(
        "",
        text("a size such as '1 GB'", byte_count, empty=True),
        "memory for a round's updates, such as `1 GB`; what needs more lies in a file; empty for no limit",
    )
    spool: str = setting(
        "",
        text("a directory that can be written to", writable_directory, empty=True),
        "directory of that file, which is gone with the server; empty for `$TMPDIR` or `/var/tmp`",
    )
    audit: str = setting(
        "",
        text("a path or a database URL", empty=True),
        "audit database: an SQLite file or a URL such as `postgresql://user@host/name`; empty for none",
    )
    run: str = setting(
        "",
        text("a name", empty=True),
        "name of the run: one of that name that is in the audit goes on after its last commit; empty for a new run",
    )
    checkpoints: str = setting(
        "",
        text("a folder", empty=True),
        "folder of what a run goes on from, model and memory, and of kept updates; empty for none",
    )
    checkpoints_newest: int = setting(5, whole(least=1), "newest commits whose checkpoints are kept")
    checkpoints_every: int = setting(10, whole(least=1), "and those of every so many rounds, round 0 included")
    updates: str = setting(
        "none",
        text("'none', 'all' or a number of rounds such as '50'", rounds_kept),
        "clients' updates that are kept, for `hawthorn rewind`: `none`, `all`, or those of so many rounds",
    )
    updates_half: bool = setting(False, yes_or_no(), "whether they are kept in half precision")
    quorum: str = setting(
        "",
        text("a count such as 8, or a share such as 0.8", quorum_of, empty=True),
        "usable replies with which a round closes, of the clients asked: a count or a share; empty to wait for all "
        "until `reply-timeout`",
    )

    vetting: str = setting(
        "",
        text("'report', 'warn' or 'drop', with options such as drop(neighbors=5)", vetting_of, empty=True),
        "whether clients look for what is wrong with their own data before they train, and what they do about it: "
        "`report`, `warn`, or `drop` what is found; empty for no look",
    )
    clip_norm: float = setting(0.0, number(least=0), "longest update that leaves a client; 0 for any length")
    local_noise: float = setting(
        0.0, number(least=0), "standard deviation of the noise on a client's update, as a multiple of `clip-norm`"
    )
    require_manifest: bool = setting(
        False, yes_or_no(), "whether replies without a signed manifest of the data are refused"
    )
    manifest_classes: bool = setting(
        False, yes_or_no(), "whether manifests tell the examples of each class, where the site allows it"
    )

    @classmethod
    def parse(cls, run_config: Mapping[str, object]) -> Settings:
        """The settings in a run config; what it leaves out has its default.

        A key with a dot belongs to a table of the app's own, such as `[tool.flwr.app.config.mine]`, and is left alone.
        Raises `SettingError` for any other unknown key, for a wrong value and for values that contradict each other.
        """
        values: dict[str, Any] = {}
        for name, value in run_config.items():
            if "." in name:
                continue
            if name not in TABLE:
                raise SettingError(f"no setting named {name!r}; {nearest(name, list(TABLE))}")
            values[name.replace("-", "_")] = _read(TABLE[name], value)
        if isinstance(values.get("hostile"), float):
            values["hostile"] = attackers(values["hostile"], values.get("clients", cls.clients))
        settings = cls(**values)
        settings._agree()
        return settings

    def _agree(self) -> None:
        if self.hostile > self.clients:
            raise SettingError(f"hostile must be at most clients={self.clients}, got {self.hostile}")
        if self.hostile and not self.attack:
            raise SettingError(f"hostile={self.hostile} clients need an attack: write attack='sign_flip', or hostile=0")
        if self.task.partition("(")[0].strip() == "npz" and not self.data:
            raise SettingError("task='npz' needs a file: write data='/path/to/file.npz'")
        if self.rounds % self.evaluate_every:
            raise SettingError(
                f"rounds must be a multiple of evaluate-every={self.evaluate_every}, so that the last model is "
                f"evaluated; got {self.rounds}"
            )
        if self.run and not (self.audit and self.checkpoints):
            raise SettingError(
                f"run={self.run!r} goes on from what is kept: write audit='/path/to/audit.db' and "
                "checkpoints='/path/to/a/folder'"
            )
        if self.checkpoints and not self.audit:
            raise SettingError("checkpoints belong to an audit: write audit='/path/to/audit.db'")
        if self.updates != "none" and not self.checkpoints:
            raise SettingError(
                f"updates={self.updates!r} are kept beside checkpoints: write checkpoints='/path/to/dir'"
            )
        on_holdout, by_clients = checks(self.guard)
        if on_holdout and not self.holdout:
            raise SettingError(f"guard={self.guard!r} needs a holdout: write holdout='package.module:function'")
        evaluating = int(self.fraction_evaluate * self.clients)
        if by_clients and evaluating < by_clients.least:
            raise SettingError(
                f"guard={self.guard!r} needs {by_clients.least} clients that evaluate, but fraction-evaluate="
                f"{self.fraction_evaluate:g} of clients={self.clients} are {evaluating}: write a larger share"
            )
        if self.local_noise and not self.clip_norm:
            raise SettingError(f"local-noise={self.local_noise:g} is a multiple of clip-norm: write clip-norm=1.0, say")
        if self.weighted_by:
            refuse_weights(self._written)
        if "trusted" in self._written.asked and not self.root_examples and self.root == ROOT:
            raise SettingError(
                f"defense={self.defense!r} compares clients with an update of the server's own, for which it needs "
                "examples: write root-examples=100, or a function of your own as root='package.module:function'"
            )
        fault = self._fault_with(self._asked)
        if fault:
            raise SettingError(
                f"defense={self.defense!r} cannot work with the {self._asked} replies a round will have "
                f"(clients={self.clients}, fraction-train={self.fraction_train:g}): {fault}; "
                "write more clients or a smaller tolerated"
            )
        if self.quorum:
            self._check_quorum()

    def _check_quorum(self) -> None:
        quorum, told = quorum_of(self.quorum), f"quorum={self.quorum!r} of the {self._asked} clients asked in a round"
        if quorum > self._asked:
            raise SettingError(f"{told} cannot be reached: write a quorum of at most {self._asked}, or none")
        fault = self._fault_with(self._replies)
        if fault:
            least = next(rows for rows in range(self._replies, self._asked + 1) if not self._fault_with(rows))
            raise SettingError(
                f"{told} closes rounds with {self._replies} replies, with which defense={self.defense!r} cannot work: "
                f"{fault}; write quorum={least} or more, or a smaller tolerated"
            )

    @property
    def f(self) -> int | float:
        """The hostile clients tolerated: a count, or a share of the replies."""
        return tolerated(self.tolerated)

    @property
    def recipe(self) -> Defense:
        """The defense; it bears `f` hostile clients unless its text says otherwise.

        Where a round that rejects f clients would leave its rule too few rows, rejections would stop the training that
        they are to protect: then, unless the text asks for a policy, only as many are rejected as the rule can spare.
        """
        if "policy" in self._fields or self._room >= self._hostile:
            return self._written
        return replace(self._written, policy=f"{Defense().policy}(most={self._room})" if self._room else "none")

    @property
    def remark(self) -> str:
        """What the operator should know about the defense; empty if nothing."""
        if self.recipe == self._written:
            return ""
        who = f"at most {self._room} of {self._hostile} are" if self._room else "nobody is"
        return (
            f"{who} rejected in a round (policy={self.recipe.policy}), the rule bears the others: "
            f"{self._fault_with(self._replies - self._room - 1)}; more clients or a smaller tolerated leave more room"
        )

    @property
    def _room(self) -> int:
        """How many replies of a round the rule can do without, at most f."""
        return next((k for k in range(self._hostile, 0, -1) if not self._fault_with(self._replies - k)), 0)

    @property
    def _hostile(self) -> int:
        return hostile_count(self._written.f, self._asked)

    @property
    def _fields(self) -> list[str]:
        return [part.partition("=")[0].strip() for part in self.defense.split(";")[1:]]

    @property
    def _written(self) -> Defense:
        return _parsed(self.defense, None if "f" in self._fields else self.f)

    @property
    def _asked(self) -> int:
        return max(1, int(self.fraction_train * self.clients))

    @property
    def _replies(self) -> int:
        """The replies that a round closes with, where all clients answer."""
        return replies_needed(quorum_of(self.quorum) if self.quorum else None, self._asked) or self._asked

    def _fault_with(self, rows: int) -> str:
        """Why the rule cannot work with so many rows, as it says itself; empty if it can."""
        return _fault(self._written, self._hostile, rows)

    def run_config(self) -> dict[str, Scalar]:
        """The settings as a run config: the keys of `pyproject.toml`, with plain values."""
        return {name: getattr(self, name.replace("-", "_")) for name in TABLE}


TABLE: dict[str, Setting] = {
    (name := column.name.replace("_", "-")): Setting(name, cast(Scalar, column.default), **column.metadata)
    for column in fields(Settings)
}


@lru_cache(256, typed=True)  # a grid of cells has few defenses, each asked about many times
def _parsed(defense: str, f: int | float | None) -> Defense:
    return Defense.parse(defense, f=f)


@lru_cache(1024)
def _fault(defense: Defense, hostile: int, rows: int) -> str:
    """Why a defense's rule cannot work with so many rows, f of them hostile; empty if it can."""
    if rows < 1:
        return "no rows are left"
    tried = replace(defense, f=hostile, policy="none")
    own = np.ones(rows) if "trusted" in tried.asked else None
    skipped = tried(np.eye(rows), trusted=own).skipped or ""
    return skipped.rpartition(": ")[2]


def _read(row: Setting, value: object) -> Scalar:
    try:
        return row.kind.read(value)
    except SettingError as error:
        raise SettingError(f"{row.name}: {error}") from error
    except ValueError:
        default = f"the default is {row.name}={row.default!r}"
        raise SettingError(f"{row.name} must be {row.kind.words}, got {value!r}; {default}") from None


def markdown() -> str:
    """The table of settings as a Markdown table, for the documentation."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for row in TABLE.values():
        default = "" if row.default == "" else f"`{row.default}`"
        cells = [cell.replace("|", "\\|") for cell in (f"`{row.name}`", default, row.meaning)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def function_named(name: str, path: str) -> Callable[..., Any]:
    """The function at the import path that setting `name` gives; raises `SettingError`."""
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise SettingError(f"{name}={path!r} cannot be imported: {error}") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise SettingError(f"{name}={path!r}: no function {attribute!r} there; {nearest(attribute, dir(module))}")
    return found
