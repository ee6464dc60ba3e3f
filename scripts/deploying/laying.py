"""`hawthorn federation init`: everything of a deployment, laid out in one folder."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hawthorn.strategies.errors import SettingError

from . import app, production
from .files import PRIVATE, content, written
from .flower import SUPERLINK_PORT, check_installed
from .folder import OWN_HOSTS, STATE, Deployment, Place, checked_name, checked_path
from .readme import readme
from .sites import with_new_site

if TYPE_CHECKING:
    from hawthorn.server.kinds import Scalar

SERVER = "server"  # the name of its certificate
PEOPLE = {"operator": "operator", "viewer": "viewer"}  # certificates for people, and their roles


def laid_out(
    folder: Path,
    *,
    name: str,
    hosts: Sequence[str],
    port: int,
    sites: Sequence[str],
    programs: Path,
    settings: Mapping[str, Scalar],
) -> Deployment:
    """A new deployment in a folder that is not there yet or empty; raises `SettingError`, and leaves nothing then."""
    folder = checked_path("DIR", folder.absolute())
    checked_name("a federation", name)
    check_installed(checked_path("--programs", programs))
    if (folder / STATE).exists():
        raise SettingError(f"{folder} is a federation already: write another folder, or `hawthorn federation up`")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingError(f"{folder} is there already and not empty: write a folder that is not there yet")
    if not 1 <= port <= 65535:
        raise SettingError(f"--port must be from 1 to 65535, got {port}")
    deployment = Deployment(folder, name, tuple(hosts) or OWN_HOSTS[:1], port, programs)
    # before anything is written: what cannot work fails here
    config = app.settings_of(deployment, deployment.production, len(sites), settings)
    was_there = folder.exists()
    try:
        return _written(deployment, sites, config)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if was_there:
            folder.mkdir()
        raise


def _written(deployment: Deployment, sites: Sequence[str], config: Mapping[str, Scalar]) -> Deployment:
    from hawthorn.server.certificates import Authority

    try:
        deployment.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingError(f"cannot make the folder {deployment.folder}: {error.strerror}") from error
    authority = Authority.made(deployment.authority, f"{deployment.name} authority")
    authority.server(SERVER, list(dict.fromkeys([*deployment.hosts, *OWN_HOSTS])))
    for person, role in PEOPLE.items():
        authority.client(person, role)
    hand_out(deployment)
    written(deployment.server / "superexec.secret", secrets.token_hex(32), PRIVATE)
    for site in sites:
        deployment = with_new_site(deployment, site)
    written(deployment.app / "pyproject.toml", app.pyproject(deployment, config))
    write_production(deployment)
    written(deployment.folder / "README.md", readme(deployment))
    deployment.save()
    return deployment


def hand_out(deployment: Deployment) -> None:
    """Copy what the authority has issued to whose it is: the server's to the server, each person's to the person."""
    folder = deployment.authority
    hand_out_revoked(deployment)
    for name in _holders(deployment):
        to = deployment.server if name == SERVER else deployment.person(name)
        for copy in ("ca.crt", f"{name}.crt", f"{name}.key"):
            written(to / copy, content(folder / copy), PRIVATE)


def hand_out_revoked(deployment: Deployment) -> None:
    """Tell the server what the authority has revoked."""
    from hawthorn.server.certificates import REVOKED

    if (deployment.authority / REVOKED).exists():
        written(deployment.server / REVOKED, content(deployment.authority / REVOKED), PRIVATE)


def _holders(deployment: Deployment) -> list[str]:
    """The names of all certificates that the authority has issued and not revoked."""
    from hawthorn.server.certificates import described, revoked

    taken_back = revoked(deployment.authority)
    issued = [path for path in sorted(deployment.authority.glob("*.crt")) if path.stem != "ca"]
    return [path.stem for path in issued if not described(path).is_revoked(taken_back)]


def renewed(deployment: Deployment) -> list[str]:
    """The names whose certificates hold for another term from now on, for the same keys; revoked ones are none."""
    from hawthorn.server.certificates import Authority

    authority = Authority.opened(deployment.authority)
    names = _holders(deployment)
    for name in names:
        authority.renewed(name)
    hand_out(deployment)
    return names


def make_audit(deployment: Deployment, place: Place) -> None:
    """Make the audit of a place, so that services which look at it can start before a run writes to it.

    One at a URL is made by the first run: its server need not be there yet.
    """
    from hawthorn.server.audit import Audit

    place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    audit = app.audit_of(deployment, place)
    if "://" not in audit:
        Audit.open(audit).close()


def write_production(deployment: Deployment) -> None:
    """Write the units, the compose file and the front's configuration."""
    folder = deployment.folder / "production"
    for name, text in production.units(deployment).items():
        written(folder / "systemd" / name, text)
    written(folder / "nginx.conf", production.front(deployment))
    written(folder / "compose" / "compose.yaml", production.compose(deployment))
    written(folder / "compose" / "Dockerfile", production.DOCKERFILE)
    written(folder / "compose" / "front.conf", production.front(deployment, f"superlink:{SUPERLINK_PORT}"))
    deployment.production.folder.mkdir(mode=0o700, exist_ok=True)
    make_audit(deployment, deployment.production)
    app.write_connection(deployment, deployment.production, SUPERLINK_PORT)
