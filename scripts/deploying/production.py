"""What production runs on: systemd units, a compose file, and the front that alone is open to the clients.

SuperNodes, operators and a run's own processes all talk to one port of the SuperLink, where whoever reaches it may
start runs, and so run code on the server. So it listens on the server itself, and a front lets clients through to what
SuperNodes need, which only registered keys may use.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import flower
from .app import audit_of
from .flower import SUPERLINK_PORT, Layout
from .folder import Deployment, Site
from .services import services

USER = "hawthorn"
SITE = Path("/etc/hawthorn")  # where a client site unpacks its bundle
SITE_PROGRAM = "/opt/hawthorn/bin/flower-supernode"
LARGEST_BODY = "64m"  # Flower sends a model in pieces of 5 MB

HARDENED = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
UMask=0077
"""


def unit(
    description: str,
    command: Sequence[str],
    *,
    writable: Path | None,
    home: Path,
    after: str = "network-online.target",
    requires: str = "",
    restart: str = "always",
    search: Path | None = None,
) -> str:
    """A systemd service that is started again whenever it ends, and works in the one folder that it may write to."""
    needed = f"Requires={requires}\n" if requires else "Wants=network-online.target\n"
    path = f'Environment="PATH={search}:/usr/local/bin:/usr/bin:/bin"\n' if search else ""
    variables = {**flower.QUIET, "FLWR_HOME": str(home)}
    told = "".join(f'Environment="{name}={value}"\n' for name, value in variables.items())
    places = f'WorkingDirectory={writable}\nReadWritePaths="{writable}"\n' if writable else "StateDirectory=hawthorn\n"
    # a percent sign starts a specifier of systemd, a dollar sign a variable
    line = shlex.join(command).replace("%", "%%").replace("$", "$$")
    return f"""\
[Unit]
Description={description}
After={after}
{needed}
[Service]
User={USER}
{told}{path}ExecStart={line}
Restart={restart}
RestartSec=10
TimeoutStopSec=60
{places}{HARDENED}
[Install]
WantedBy=multi-user.target
"""


def units(deployment: Deployment) -> dict[str, str]:
    """The server's systemd units by file name."""
    place = deployment.production
    layout = Layout(deployment.programs, deployment.server, place.folder)
    whose = f"federation {deployment.name}"
    common: Mapping[str, Any] = {"writable": place.folder, "home": place.home, "search": deployment.programs}
    link = "hawthorn-superlink.service"
    run = [layout.program("hawthorn"), "federation", "run", str(deployment.folder)]
    found = {
        link: unit(f"SuperLink of the {whose}", flower.superlink(layout, "127.0.0.1", SUPERLINK_PORT), **common),
        "hawthorn-superexec.service": unit(
            f"ServerApps of the {whose}",
            flower.superexec(layout, f"127.0.0.1:{SUPERLINK_PORT}"),
            after=link,
            requires=link,
            **common,
        ),
        # a run that fails is begun again, and goes on after its last commit
        "hawthorn-run.service": unit(
            f"Run of the {whose}",
            run,
            after=f"{link} hawthorn-superexec.service",
            requires=link,
            restart="on-failure",
            **common,
        ),
    }
    for service in services(layout, deployment, audit_of(deployment, place)):
        found[f"hawthorn-{service.name}.service"] = unit(f"{service.what} of the {whose}", service.command, **common)
    return found


def site_unit(deployment: Deployment, site: Site) -> str:
    """The systemd unit of a client site, whose bundle lies in `/etc/hawthorn`."""
    return unit(
        f"SuperNode {site.name} of the federation {deployment.name}",
        site_command(deployment, site, SITE_PROGRAM, SITE),
        writable=None,
        home=Path("/var/lib/hawthorn/flwr"),
        search=Path(SITE_PROGRAM).parent,
    )


def site_command(deployment: Deployment, site: Site, program: str, folder: Path) -> list[str]:
    """How a site starts its SuperNode."""
    return flower.supernode(program, deployment.address, folder, flower.SUPERNODE_PORT, f"partition-id={site.number}")


def front(deployment: Deployment, upstream: str = f"127.0.0.1:{SUPERLINK_PORT}") -> str:
    """The nginx site that is open to clients: SuperNodes' calls alone, re-encrypted to the SuperLink."""
    server = deployment.server
    names = " ".join(deployment.hosts)
    return f"""\
# The only port of the federation {deployment.name} that clients need. All of Flower's interfaces share the SuperLink's
# port; this lets through those of SuperNodes, each call of which is signed with a registered key.
server {{
    listen {deployment.port} ssl;
    listen [::]:{deployment.port} ssl;
    server_name {names};
    ssl_certificate "{server / "server.crt"}";
    ssl_certificate_key "{server / "server.key"}";
    ssl_protocols TLSv1.2 TLSv1.3;
    client_max_body_size {LARGEST_BODY};
    proxy_read_timeout 300s;
    proxy_send_timeout 300s;

    location /v1/fleet/ {{
        proxy_pass https://{upstream};
        proxy_http_version 1.1;
        proxy_request_buffering off;
        proxy_ssl_trusted_certificate "{server / "ca.crt"}";
        proxy_ssl_name localhost;
        proxy_ssl_verify on;
    }}

    location / {{
        return 403;
    }}
}}
"""


DOCKERFILE = """\
# The image of all services: build it where `hawthorn` can be installed from, such as the folder of its wheel.
FROM python:3.12-slim
ARG HAWTHORN="hawthorn[torch]"
RUN pip install --no-cache-dir "$HAWTHORN" && useradd --uid 1000 hawthorn
USER hawthorn
"""


def compose(deployment: Deployment) -> str:
    """The compose file of the server, as JSON with comments, which is YAML."""
    place = deployment.production  # containers have it under its own path, which settings and certificates name
    layout = Layout(None, deployment.server, place.folder)
    link = flower.superlink(layout, "0.0.0.0", SUPERLINK_PORT)  # a network of its own; this machine alone has its port
    published = {"ports": [f"127.0.0.1:{SUPERLINK_PORT}:{SUPERLINK_PORT}"]}
    found: dict[str, Any] = {
        "superlink": service(deployment, link) | published,
        "superexec": service(deployment, flower.superexec(layout, f"superlink:{SUPERLINK_PORT}"), needs="superlink"),
    }
    for one in services(layout, deployment, audit_of(deployment, place), host="0.0.0.0"):
        found[one.name] = service(deployment, one.command) | {"ports": [f"127.0.0.1:{one.port}:{one.port}"]}
    found["front"] = {
        "image": "nginx:stable",
        "restart": "unless-stopped",
        "depends_on": ["superlink"],
        "ports": [f"{deployment.port}:{deployment.port}"],
        "volumes": [
            "./front.conf:/etc/nginx/conf.d/default.conf:ro",
            *(f"{deployment.server / name}:{deployment.server / name}:ro" for name in SERVED),
        ],
    }
    document = {"name": deployment.name.lower(), "services": found}
    return (
        f"# The server of the federation {deployment.name}: docker compose up --build --detach\n"
        "# JSON is YAML; every command below is the one of the systemd units beside it.\n"
        f"{json.dumps(document, indent=2)}\n"
    )


SERVED = ("ca.crt", "server.crt", "server.key")


def service(deployment: Deployment, command: Sequence[str], needs: str = "") -> dict[str, Any]:
    """One service of the compose file; it sees the server's secrets and data, and not the authority's key."""
    return {
        "build": {"context": ".", "dockerfile": "Dockerfile"},
        "image": "hawthorn-federation",
        "restart": "unless-stopped",
        "environment": {**flower.QUIET, "FLWR_HOME": str(deployment.production.home)},
        "command": [word.replace("$", "$$") for word in command],  # a dollar sign starts a variable
        "working_dir": str(deployment.production.folder),
        "volumes": [
            f"{deployment.server}:{deployment.server}:ro",
            f"{deployment.production.folder}:{deployment.production.folder}",
        ],
        **({"depends_on": [needs]} if needs else {}),
    }
