"""`hawthorn federation`: lay out a deployment, rehearse it on one machine, and look after it."""

from __future__ import annotations

import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from .deploying.folder import Deployment, Place

app = typer.Typer(
    help="Lay out a federation with certificates and keys, rehearse it on one machine, and look after it.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder of the federation.")]
JsonFile = Annotated[str, typer.Option("--json", metavar="FILE", help="Where JSON goes; - for standard output.")]
Chosen = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting of the run, such as task=breast_cancer; repeatable."),
]
HERE = Path("federation")


@app.command()
def init(
    folder: Folder = HERE,
    name: Annotated[str, typer.Option(help="Name of the federation and of its run. Default: the folder's.")] = "",
    host: Annotated[
        list[str] | None,
        typer.Option(help="Name or address by which clients reach the server; repeatable, the first is theirs."),
    ] = None,
    port: Annotated[int, typer.Option(help="The port that is open to clients.")] = 9092,
    sites: Annotated[str, typer.Option(help="How many sites, or their names with commas between them.")] = "3",
    programs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the programs are on the server. Default: where this one is."),
    ] = None,
    chosen: Chosen = None,
) -> None:
    """Write a folder with all that a federation needs: certificates, keys, the Flower app, production's files."""
    deployment = _laid_out(folder, name, host or [], port, sites, programs, chosen or [])
    print(f"{deployment.folder}: federation {deployment.name} of {len(deployment.sites)} sites")
    print(f"next: hawthorn federation up {deployment.typed}; README.md in it says how to deploy it")


@app.command()
def up(
    folder: Folder = HERE,
    sites: Annotated[int | None, typer.Option(help="With how many sites. Default: all.")] = None,
    hostile: Annotated[int, typer.Option(help="How many of them are poisoned.")] = 1,
    attack: Annotated[str, typer.Option(help="What those do.")] = "sign_flip",
    rounds: Annotated[int | None, typer.Option(help="Rounds in all; more of them go on with the same run.")] = None,
    new_ports: Annotated[bool, typer.Option("--new-ports", help="Choose other ports than last time.")] = False,
    then_down: Annotated[bool, typer.Option("--down", help="Stop everything when the run is over.")] = False,
    chosen: Chosen = None,
    json_file: JsonFile = "",
) -> None:
    """Rehearse the federation on this machine: TLS, authenticated sites, one of them poisoned, and a run to its end.

    Without a folder, `federation` is laid out here first. Everything keeps running afterwards, until `down`. After
    `down`, or after a crash, `up` goes on with the same run.
    """
    from .deploying.app import read_settings
    from .deploying.folder import STATE
    from .deploying.rehearsal import Plan, stop
    from .output import check_targets, write_json

    check_targets({"--json": json_file})
    started = time.monotonic()
    if folder == HERE and not (folder / STATE).exists():
        _laid_out(folder, "", [], 9092, str(sites or 3), None, chosen or [])
    deployment = _opened(folder)
    settings = read_settings(chosen or []) | ({} if rounds is None else {"rounds": rounds})
    plan = Plan(sites, hostile, attack, settings, new_ports)
    try:
        document = _rehearsed(deployment, plan, started, shown=json_file != "-")
    finally:
        if then_down:
            stopped, helpers = stop(deployment)
            print(f"stopped {stopped} processes and {helpers} helpers", file=sys.stderr)
    write_json(document, json_file)


@app.command()
def run(folder: Folder = HERE) -> None:
    """Start production's run and wait for its end; one that is in progress is waited for. The services use this."""
    from hawthorn.strategies.errors import HawthornError

    from .deploying.flower import Flwr
    from .deploying.registration import unregister_removed

    deployment = _opened(folder)
    unregister_removed(deployment, deployment.production, print)
    flwr = Flwr(deployment.programs, deployment.production)
    going = [one["run-id"] for one in flwr.runs() if not one["status"].startswith("finished")]
    current = going[0] if going else flwr.run(deployment.app)
    print(f"run {current} of {deployment.name}", flush=True)
    while not (found := flwr.status(current))[0].startswith("finished"):
        time.sleep(30)
    if found[0] != "finished:completed":
        raise HawthornError(f"run {current} ended as {found[0]}: {found[1]}")


@app.command("add-client")
def add_client(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the federation.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the site.")],
    public_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The site's own public key (ssh-keygen -t ecdsa -b 384). Default: make one."),
    ] = None,
) -> None:
    """Add a site: its key, its registration where the server runs, and a bundle of all it needs and nothing else."""
    from .deploying.registration import register
    from .deploying.rehearsal import is_listening
    from .deploying.sites import with_new_site

    deployment = with_new_site(_opened(folder), name, public_key)
    deployment.save()
    site = deployment.sites[-1]
    print(f"{name}: {site.identity}, bundle {deployment.site_folder(site.name) / f'{name}.tar.gz'}")
    places = [place for place in (deployment.rehearsal, deployment.production) if is_listening(place)]
    for place in places:
        register(deployment, place, [site], print)
    if not places:
        print("the server is down: `up` registers the key in a rehearsal, `register` in production")
    print(f"the run waits for as many sites as `clients` says: {deployment.app / 'pyproject.toml'}")


@app.command("remove-client")
def remove_client(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the federation.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the site.")],
) -> None:
    """Let a site connect no more, such as one whose key was stolen, and delete its files here.

    It fails if production's SuperLink is down and would still admit it: `register` makes up for that.
    """
    import shutil

    from hawthorn.strategies.errors import HawthornError

    from .deploying.app import declared
    from .deploying.registration import is_registered, unregister_removed
    from .deploying.rehearsal import is_listening

    before = _opened(folder)
    site, deployment = before.site(name), before.without_site(name)
    places = [place for place in (deployment.rehearsal, deployment.production) if is_registered(before, place, site)]
    deployment.save()
    shutil.rmtree(deployment.site_folder(name), ignore_errors=True)
    print(f"{name} is removed; what the audit has of {site.identity} stays there")
    clients, left = declared(deployment).get("clients", 0), len(deployment.sites)
    if clients > left:
        print(f"the run waits for {clients} sites: write clients = {left} into {deployment.app / 'pyproject.toml'}")
    if deployment.production not in places:
        print(f"no SuperLink with its data in {deployment.production.folder} knows its key")
    for place in places:
        if is_listening(place):
            unregister_removed(deployment, place, print)
        elif place == deployment.production:
            raise HawthornError(
                f"production's SuperLink is down and STILL ADMITS {name}: start it and write at once "
                f"`hawthorn federation register {deployment.typed}`"
            )


@app.command("add-person")
def add_person(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the federation.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who is to reach the control service.")],
    role: Annotated[str, typer.Option(help="viewer, operator or aggregation.")] = "viewer",
) -> None:
    """Issue a certificate by which somebody reaches the control service, with a role."""
    from hawthorn.server.certificates import Authority

    from .deploying.laying import hand_out

    deployment = _opened(folder)
    Authority.opened(deployment.authority).client(name, role)
    hand_out(deployment)
    print(f"{name}, {role}: {deployment.person(name)}")


@app.command()
def revoke(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the federation.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose certificate the control service refuses now.")],
) -> None:
    """Take a person's certificate back."""
    from hawthorn.server.certificates import Authority

    from .deploying.laying import hand_out_revoked

    deployment = _opened(folder)
    serial = Authority.opened(deployment.authority).revoke(name)
    hand_out_revoked(deployment)
    print(f"{name}: certificate {serial:x} is refused from now on")


@app.command()
def renew(folder: Folder = HERE) -> None:
    """Have the certificates of the server and of people hold for another 397 days; keys stay as they are."""
    from .deploying.laying import renewed

    deployment = _opened(folder)
    names = renewed(deployment)
    print(f"renewed: {', '.join(names)}; start SuperLink and front again, and hand people theirs")


@app.command()
def register(folder: Folder = HERE) -> None:
    """Register the keys of all sites with production's SuperLink on this machine, and take back those of removed ones.

    Only registered keys can connect.
    """
    from .deploying import registration

    deployment = _opened(folder)
    registration.register(deployment, deployment.production, deployment.sites, print)


@app.command()
def status(
    folder: Folder = HERE,
    production: Annotated[
        bool, typer.Option("--production", help="Of production instead of the rehearsal on this machine.")
    ] = False,
    json_file: JsonFile = "",
) -> None:
    """Tell how processes, certificates, sites and the run stand; exit status 1 if a process is down."""
    from .audit import show_lines
    from .deploying import status as told
    from .output import check_targets, write_json

    check_targets({"--json": json_file})
    deployment = _opened(folder)
    found = told.status(deployment, deployment.production if production else deployment.rehearsal)
    write_json(found, json_file)
    if json_file != "-":
        show_lines(f"{deployment.name} in {deployment.folder}, {found['place']}", *told.tables(found))
    if not all(one["alive"] for one in found["processes"]):
        raise typer.Exit(1)


@app.command()
def down(folder: Folder = HERE) -> None:
    """Stop every process of the rehearsal, and what those have started; `up` goes on with the run."""
    from .deploying.rehearsal import stop

    stopped, helpers = stop(_opened(folder))
    print(f"stopped {stopped} processes and {helpers} helpers")


def _opened(folder: Path) -> Deployment:
    from .deploying.folder import Deployment

    return Deployment.opened(folder)


def _laid_out(
    folder: Path, name: str, hosts: list[str], port: int, sites: str, programs: Path | None, chosen: list[str]
) -> Deployment:
    from .deploying.app import read_settings
    from .deploying.folder import own_programs, site_names
    from .deploying.laying import laid_out

    return laid_out(
        folder,
        name=name or folder.absolute().name,
        hosts=hosts,
        port=port,
        sites=site_names(sites),
        programs=own_programs() if programs is None else programs.absolute(),
        settings=read_settings(chosen),
    )


def _rehearsed(deployment: Deployment, plan: Any, started: float, *, shown: bool) -> dict[str, Any]:
    """The result of a rehearsal, also `shown` in the end; its progress goes to standard error where it is not."""
    from rich.console import Console

    from .audit import show_lines
    from .deploying.rehearsal import Rehearsal, alone, refuse_running
    from .deploying.status import client_table, run_table
    from .deploying.watching import Watched, is_over, run_summary, standings, watch

    console = Console(highlight=False, soft_wrap=True, stderr=not shown)

    def say(text: str) -> None:
        console.print(f"[{time.monotonic() - started:6.1f} s] {text}", markup=False)

    place: Place = deployment.rehearsal
    with alone(place):
        rehearsal = Rehearsal(deployment, plan, say)
        refuse_running(deployment, rehearsal.processes)
        poisoned = [site.name for site in rehearsal.poisoned]
        say(f"{len(rehearsal.sites)} sites, poisoned: {', '.join(poisoned) or 'none'} ({plan.attack})")
        rehearsal.start()
        ready = time.monotonic() - started
        name = rehearsal.run_name
        watched = Watched(datetime.now(UTC))
        if is_over(run_summary(deployment, place, name), rehearsal.settings):
            say(f"run {name!r} has had its {rehearsal.settings['rounds']} rounds: --rounds with more goes on with it")
        else:
            watched = watch(rehearsal, rehearsal.submit(), watched)
    run, clients = run_summary(deployment, place, name), standings(deployment, place, name)
    seconds = {
        **rehearsal.seconds,
        "ready": round(ready, 2),
        "to the first round": watched.first,
        "between rounds": watched.between,
        "in all": round(time.monotonic() - started, 2),
    }
    held = [one["site"] for one in clients if one["standing"].startswith("in quarantine")]
    if shown:
        show_lines("The rehearsal", run_table(run), client_table(clients, poisoned))
        print(f"in quarantine: {', '.join(held) or 'nobody'}; poisoned: {', '.join(poisoned) or 'none'}")
        print(f"audit: hawthorn audit show {run['run']} --audit {shlex.quote(str(place.audit))}")
        print(*rehearsal.told_looks(), sep="\n")
        print(f"processes: hawthorn federation status {deployment.typed}; all end with `hawthorn federation down`")
    return {"poisoned": poisoned, "quarantined": held, "run": run, "clients": clients, "seconds": seconds}
