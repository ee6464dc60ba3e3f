"""`hawthorn dashboard`: the page that an operator leaves open, and who may look at it."""

from __future__ import annotations

import getpass
import json
import logging
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

app = typer.Typer(help="Serve the page on which runs are watched and ordered; see also its commands.")

UsersFile = Annotated[str, typer.Option("--users", metavar="FILE", help="Who may log in; `add-user` writes it.")]
Role = Annotated[str, typer.Option("--role", metavar="ROLE", help="viewer, or operator, who may give orders.")]


@app.callback(invoke_without_command=True)
def dashboard(
    context: typer.Context,
    audit: Annotated[
        str, typer.Option("--audit", metavar="FILE", help="Audit database: SQLite file or database URL.")
    ] = "hawthorn.db",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0: any that is free.")
    ] = "127.0.0.1:8080",
    users: UsersFile = "",
    certificates: Annotated[
        str, typer.Option(metavar="DIR", help="Folder with the server's certificate and key, for TLS.")
    ] = "",
    name: Annotated[str, typer.Option(metavar="NAME", help="They are NAME.crt and NAME.key.")] = "server",
    certificate: Annotated[str, typer.Option(metavar="FILE", help="A certificate of another authority.")] = "",
    key: Annotated[str, typer.Option(metavar="FILE", help="Its key.")] = "",
    public_url: Annotated[
        str, typer.Option(metavar="URL", help="By which browsers come, where a proxy is in front.")
    ] = "",
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Of a proxy on another machine, or of its network; may be repeated."),
    ] = None,
    without_tls: Annotated[
        bool, typer.Option("--without-tls", help="Listen to other machines without TLS: a proxy must encrypt.")
    ] = False,
    login_link: Annotated[
        str, typer.Option(metavar="ROLE", help="Print a link by which somebody may log in once, with this role.")
    ] = "",
    metrics_token: Annotated[
        str, typer.Option(metavar="FILE", help="Its content is what Prometheus must send as a bearer token.")
    ] = "",
    metrics_clients: Annotated[
        int, typer.Option(min=0, max=1000, help="Tell Prometheus of that many clients one by one.")
    ] = 0,
    json_out: Annotated[bool, typer.Option("--json", help="Print where it listens as JSON.")] = False,
) -> None:
    """Serve the page on which runs are watched, and /metrics for Prometheus."""
    if context.invoked_subcommand is not None:
        return
    from hawthorn.server.audit import Audit
    from hawthorn.server.dashboard.serving import Place, Served, expiry, pair_of
    from hawthorn.server.dashboard.sessions import Sessions
    from hawthorn.server.dashboard.users import ROLES, Users
    from hawthorn.server.metrics import Exposed
    from hawthorn.strategies import SettingError

    pair = pair_of(certificates, name, certificate, key)
    place = Place.at(listen, pair=pair, public=public_url, open=without_tls, proxies=trusted_proxy or ())
    if login_link and login_link not in ROLES:
        raise SettingError(f"--login-link must be one of {', '.join(ROLES)}, got {login_link!r}")
    known = Users(users) if users else None
    if not login_link and not (known and known.all()):
        raise SettingError("nobody could log in: write --users FILE with `hawthorn dashboard add-user NAME`")
    sessions = Sessions(known)
    exposed = Exposed(_token(metrics_token), clients=metrics_clients, closed=not place.local)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with Audit.open(audit, create=False) as opened:
        served = Served(opened, known, place, sessions, exposed)
        link = f"{served.url}/login#once={sessions.link_token(login_link)}" if login_link else ""
        for told in filter(None, (expiry(pair), place.warning)):
            print(f"hawthorn: {told}", file=sys.stderr)
        told = {"url": served.url, "port": served.port, "link": link}
        shown = f"serving {opened.url} at {served.url}" + (f"\nlog in once, as {login_link}: {link}" if link else "")
        print(json.dumps(told) if json_out else shown, flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):  # the server stops at them by itself, and raises them once more
            signal.signal(number, _nothing)
        served.run()


@app.command("add-user")
def add_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who is to log in.")],
    role: Role = "viewer",
    users: UsersFile = "users",
) -> None:
    """Let somebody in, or give them another password or role; the password is asked for, or read from a pipe."""
    from hawthorn.server.dashboard.users import Users
    from hawthorn.strategies import SettingError

    if sys.stdin.isatty():
        password = getpass.getpass(f"password of {name}: ")
        if getpass.getpass("once more: ") != password:
            raise SettingError("the two passwords differ")
    else:
        password = sys.stdin.readline().rstrip("\n")
    user = Users(users).put(name, role, password)
    print(f"{user.name} may log in as {user.role}; sessions under that name end")


@app.command("remove-user")
def remove_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who is not to log in any more.")],
    users: UsersFile = "users",
) -> None:
    """Let somebody in no longer; their sessions end."""
    from hawthorn.server.dashboard.users import Users

    Users(users).remove(name)
    print(f"{name} may log in no longer")


@app.command("list-users")
def list_users(users: UsersFile = "users") -> None:
    """Tell who may log in."""
    from hawthorn.server.dashboard.users import Users

    for user in Users(users).all().values():
        print(f"{user.name}\t{user.role}")


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """What a signal does that was obeyed already."""


def _token(path: str) -> str:
    """The content of a file, without the newline at its end; raises `SettingError`."""
    from hawthorn.strategies import SettingError

    if not path:
        return ""
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"cannot read --metrics-token {path}: {error}") from error
    if len(token) < 16:
        raise SettingError(f"the token in {path} must have at least 16 characters, got {len(token)}")
    return token
