"""A site's files: its key, what it may know of the server, how it starts, and all of that as one bundle."""

from __future__ import annotations

import shlex
from itertools import count
from pathlib import Path

from hawthorn.strategies.errors import SettingError

from .files import bundle, content, written
from .folder import Deployment, Site, checked_name
from .production import SITE, SITE_PROGRAM, site_command, site_unit

KEY = "node.key"


def with_new_site(deployment: Deployment, name: str, public_key: Path | None = None) -> Deployment:
    """The deployment with a site more, whose files and bundle are written; raises `SettingError`.

    Where the site sends a public key of its own making, its private key never leaves it.
    """
    from hawthorn.server.certificates import node_identity, node_key

    if checked_name("a site", name) in {site.name for site in deployment.sites}:
        raise SettingError(f"there is a site named {name!r} already: write another name")
    known = {other.identity: other.name for other in deployment.sites}
    if public_key is not None and (identity := node_identity(public_key)) in known:
        raise SettingError(f"{public_key} is the key of {known[identity]} already: each site needs its own")
    taken = {site.number for site in deployment.sites}
    number = next(number for number in count() if number not in taken)  # a task is cut into as many parts as sites
    folder = deployment.site_folder(name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    public = folder / f"{KEY}.pub"
    if public_key is not None:
        if (folder / KEY).exists():
            raise SettingError(f"{folder / KEY} is there already, made for {name}: delete it or leave out --public-key")
        written(public, content(public_key))
    elif (folder / KEY).exists():  # by a command that was interrupted; nobody has it yet
        written(public, public_half(folder / KEY, comment=name))
    else:
        public.unlink(missing_ok=True)
        node_key(folder / KEY, comment=name)
    site = Site(name, number, node_identity(public))
    written(folder / "ca.crt", content(deployment.server / "ca.crt"))
    written(folder / "hawthorn-supernode.service", site_unit(deployment, site))
    written(folder / "README.md", site_readme(deployment, site, own_key=public_key is not None))
    write_bundle(deployment, site)
    return deployment.with_site(site)


def public_half(path: Path, comment: str) -> bytes:
    """The public key file of a SuperNode's private key; raises `SettingError`."""
    from cryptography.hazmat.primitives import serialization

    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    try:
        key = serialization.load_ssh_private_key(content(path), None)
    except ValueError as error:
        raise SettingError(f"{path} is no private key ({error}): delete it") from error
    return key.public_key().public_bytes(*form) + f" {comment}\n".encode()


def write_bundle(deployment: Deployment, site: Site) -> Path:
    """The `.tar.gz` for a site: its own files and no others."""
    folder = deployment.site_folder(site.name)
    names = [KEY, f"{KEY}.pub", "ca.crt", "hawthorn-supernode.service", "README.md"]
    files = {name: content(folder / name) for name in names if (folder / name).exists()}
    return bundle(folder / f"{site.name}.tar.gz", site.name, files, private=frozenset({KEY}))


def site_readme(deployment: Deployment, site: Site, *, own_key: bool) -> str:
    """What a client site does with its bundle."""
    key = (
        f"Put the private key whose public half you sent there too, as `{SITE / KEY}`, readable by `hawthorn` alone."
        if own_key
        else f"`{KEY}` is your site's identity. Who has it can speak in your name: keep it on this machine alone."
    )
    command = shlex.join(site_command(deployment, site, "flower-supernode", Path(".")))
    return f"""\
# {site.name}, a site of the federation {deployment.name}

Your data stays here. This machine calls the server at `{deployment.address}` and needs no open port of its own.

1. Install the programs: `python3 -m venv /opt/hawthorn && /opt/hawthorn/bin/pip install 'hawthorn[torch]'`.
2. Make a user and put these files where it alone reads them:

        useradd --system --home-dir /var/lib/hawthorn hawthorn
        install -d -o hawthorn -m 700 {SITE}
        install -o hawthorn -m 600 {KEY} ca.crt {SITE}

   {key}
3. Start it, now and with every boot:

        install -m 644 hawthorn-supernode.service /etc/systemd/system/
        systemctl enable --now hawthorn-supernode
        journalctl -u hawthorn-supernode -f

   The program is `{SITE_PROGRAM}`; if yours is elsewhere, edit the unit. Without systemd: `{command}`.

The server knows this site by its public key, identity `{site.identity}`. A new machine with the same key is
the same site, with the same reputation. If the key may have been stolen, tell the operator, who registers a new one.
"""
