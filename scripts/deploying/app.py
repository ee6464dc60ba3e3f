"""The Flower app of a deployment: its settings, and how `flwr` finds the SuperLinks."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hawthorn.strategies.errors import SettingError

from .files import content, written
from .folder import Deployment, Place

if TYPE_CHECKING:
    from hawthorn.server.kinds import Scalar

# Who is rejected has to be spared: with three sites a rule that bears one hostile of them needs all three rows, so the
# rule alone holds off what is sent until the rounds together bring its sender into quarantine.
FEW_SITES = "trimmed_mean; policy=none; reputation=sequential"
SITES = "default; reputation=sequential"


def tolerated(sites: int) -> int:
    """How many hostile sites of so many a defense can reject and still have rows enough for its rule.

    >>> tolerated(3), tolerated(4), tolerated(10)
    (1, 1, 3)
    """
    return max(1, (sites - 1) // 3)


def settings_of(deployment: Deployment, place: Place, sites: int, chosen: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The settings of the deployment's run with so many sites, those `chosen` above all; raises `SettingError`."""
    from hawthorn.server.settings import Settings

    own: dict[str, Scalar] = {
        "task": "digits",
        "partition": "iid",
        "rounds": 10,
        "clients": sites,
        "wait": 600.0,
        "tolerated": str(tolerated(sites)),
        "defense": FEW_SITES if sites - tolerated(sites) < 2 * tolerated(sites) + 1 else SITES,
        "fraction-evaluate": 0.0,  # the server has a holdout, and a message costs a new process at the site
        "audit": str(place.audit),
        "run": deployment.name,
        "checkpoints": str(place.checkpoints),
    }
    return Settings.parse(own | dict(chosen)).run_config()


def declared(deployment: Deployment) -> dict[str, Any]:
    """The settings that the app declares, as its operator has edited them; raises `SettingError`."""
    path = deployment.app / "pyproject.toml"
    try:
        document = tomllib.loads(content(path).decode())
        return dict(document["tool"]["flwr"]["app"]["config"])
    except (ValueError, KeyError) as error:
        raise SettingError(f"{path} has no [tool.flwr.app.config] that can be read: {error}") from error


def run_name(deployment: Deployment) -> str:
    """The name of the run in the audit: the app's, or else the deployment's."""
    return str(declared(deployment).get("run") or deployment.name)


def audit_of(deployment: Deployment, place: Place) -> str:
    """The audit of a place, a path or a URL: that of production is the app's to say.

    Every process of a place works in its folder, which is where a relative path begins.
    """
    found = place.audit if place == deployment.rehearsal else declared(deployment).get("audit") or place.audit
    return str(found) if "://" in str(found) else str(place.folder / found)


def overrides(deployment: Deployment, wanted: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """What of these settings the app does not say already; raises `SettingError` for one that it does not declare.

    Flower overrides declared settings alone, and a later version of Hawthorn may have settings that the app lacks.
    """
    from hawthorn.server.settings import TABLE

    said = declared(deployment)
    found: dict[str, Scalar] = {}
    for name, value in wanted.items():
        if name in said and said[name] != value:
            found[name] = value
        elif name not in said and value != TABLE[name].default:
            raise SettingError(
                f"the app does not declare {name}: write {toml({name: value}).strip()} into "
                f"{deployment.app / 'pyproject.toml'}"
            )
    return found


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Settings as options give them, `name=value` each; raises `SettingError`.

    >>> read_settings(["rounds=5", "task=breast_cancer", "learning-rate=0.05"])
    {'rounds': 5, 'task': 'breast_cancer', 'learning-rate': 0.05}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"a setting is written name=value, such as rounds=20, got {text!r}")
        found[name.strip()] = _scalar(value.strip())
    return found


def _scalar(text: str) -> Scalar:
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")


def toml(values: Mapping[str, Scalar]) -> str:
    """Settings as lines of TOML.

    >>> print(toml({"rounds": 3, "task": "digits"}), end="")
    rounds = 3
    task = "digits"
    """
    # a basic string of TOML is written as one of JSON, and so are its numbers and booleans
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())


def pyproject(deployment: Deployment, settings: Mapping[str, Scalar]) -> str:
    """The `pyproject.toml` of the app: it carries settings alone, code comes from what is installed."""
    return f"""\
# The run of the federation {deployment.name}. `flwr run` sends this file to the server; the code is what is installed
# there and at the sites. To train something else, write `task`, or functions of your own as `model`, `holdout` and
# `root`, and your ClientApp as `clientapp`.
[project]
name = "{deployment.name.lower()}"
version = "1.0.0"
description = "A federation defended by Hawthorn"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "hawthorn"
fab-include = ["pyproject.toml"]

[tool.flwr.app.components]
serverapp = "hawthorn.server.app:app"
clientapp = "hawthorn.client.app:app"

[tool.flwr.app.config]
{toml(settings)}"""


def connections(deployment: Deployment, place: Place, port: int) -> str:
    """Flower's `config.toml` of one place, whose SuperLink is reached on this machine."""
    return f"""\
[superlink]
default = "{place.connection}"

[superlink.{place.connection}]
address = "127.0.0.1:{port}"
root-certificates = {json.dumps(str(deployment.server / "ca.crt"))}
"""


def write_connection(deployment: Deployment, place: Place, port: int) -> None:
    """Write the `config.toml` of one place."""
    written(place.home / "config.toml", connections(deployment, place, port))
