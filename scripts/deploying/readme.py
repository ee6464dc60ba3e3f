"""The README of a deployment's folder."""

from __future__ import annotations

import shlex

from .folder import Deployment


def readme(deployment: Deployment) -> str:
    """What is in the folder, and how to rehearse and to deploy it."""
    folder, hawthorn = deployment.typed, shlex.quote(str(deployment.programs / "hawthorn"))
    sites = "\n".join(f"- `{site.name}`: `{site.identity}`" for site in deployment.sites)
    return f"""\
# The federation {deployment.name}

Clients reach the server at `{deployment.address}`. Its sites, by the public keys they are known by, at `init`:

{sites}

| path | what | who may have it |
|---|---|---|
| `ca/` | the certificate authority, and all it has issued | you alone; in production keep it off the server |
| `server/` | the server's certificate and key, the secret its processes share | the server |
| `people/` | certificates by which people reach the control service, with their roles | each person their own |
| `sites/NAME/` | a site's key and files; `NAME.tar.gz` is all it needs | that site |
| `app/` | the Flower app: the settings of the run | anyone |
| `production/` | systemd units, nginx configuration, compose file | the server |
| `data/` | production's audit, checkpoints and SuperLink database | the server; back it up |
| `rehearsal/` | the same of rehearsals, and logs | delete it when you like |

## Rehearse it

    hawthorn federation up {folder}          # server and sites on this machine, one of them poisoned
    hawthorn federation status {folder}
    hawthorn federation down {folder}

## Deploy it

All of it as root, in this folder; `sudo -u hawthorn` stands where a file is written that the services read or write,
because root's files of mode 600 are closed to them.

1. Edit `app/pyproject.toml`: what is trained, with which model, for how many rounds.
2. Install the units and the front, which is the only thing that clients reach (port {deployment.port}):

        useradd --system --home-dir {folder} hawthorn
        chown -R hawthorn {folder} && chmod 700 {folder}
        cp production/systemd/*.service /etc/systemd/system/
        cp production/nginx.conf /etc/nginx/conf.d/hawthorn.conf
        sudo -u hawthorn {hawthorn} dashboard add-user YOU --role operator --users server/users
        systemctl enable --now nginx hawthorn-superlink hawthorn-superexec hawthorn-control hawthorn-dashboard

   or, in containers: `docker compose --file production/compose/compose.yaml up --build --detach`. Their user has uid
   1000: write `chown -R 1000 {folder}` then, and below and above `sudo -u '#1000'` instead of `sudo -u hawthorn`.
3. Register the sites' keys: `sudo -u hawthorn {hawthorn} federation register {folder}`. Only registered keys can
   connect.
4. Send each site its bundle by a way that is safe for a private key. Safer still, let the site make its key
   (`ssh-keygen -t ecdsa -b 384 -N "" -f node.key`), send `node.key.pub`, and add it with
   `sudo -u hawthorn {hawthorn} federation add-client {folder} NAME --public-key node.key.pub`.
5. When the sites are online (`sudo -u hawthorn {hawthorn} federation status {folder} --production`), start the run,
   and whatever fails begins again after the last round that was committed: `systemctl enable --now hawthorn-run`.
6. Move `ca/` to a machine that is not on the network. You need it again to renew certificates, which hold 397 days.
"""
