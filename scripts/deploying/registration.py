"""Which keys a SuperLink admits: those of the sites are registered, those of removed sites are taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from hawthorn.strategies.errors import HawthornError

from .files import json_in, write_json
from .flower import GONE, Flwr
from .folder import Deployment, Place, Site

IN_USE = "key already in use"  # what Flower says of a key that it knows, or has known


def register(deployment: Deployment, place: Place, sites: Sequence[Site], say: Callable[[str], None]) -> None:
    """Have the SuperLink of a place know the keys of these sites, and no more those of removed ones.

    Each is written down as soon as it is registered; raises `HawthornError` in the end if one could not be.
    """
    unregister_removed(deployment, place, say)
    nodes: dict[str, str] = json_in(place.registered)
    new = [site for site in sites if site.identity not in nodes]
    failed: list[HawthornError] = []
    with ThreadPoolExecutor() as pool:  # each is a program that takes its time to start
        asked = {pool.submit(_node, deployment, place, site): site for site in new}
        for answer in as_completed(asked):
            site = asked[answer]
            try:
                nodes[site.identity] = answer.result()
            except HawthornError as error:
                failed.append(error)
                continue
            write_json(place.registered, nodes)
            say(f"registered {site.name}, {site.identity}, as node {nodes[site.identity]}")
    if failed:
        raise failed[0]


def unregister_removed(deployment: Deployment, place: Place, say: Callable[[str], None]) -> None:
    """Have the SuperLink of a place know no keys of sites that are removed, and write down which it still knows."""
    before: dict[str, str] = json_in(place.registered)
    if not before:
        return
    flwr = Flwr(deployment.programs, place)
    known = flwr.nodes()  # a SuperLink whose database was lost has forgotten all
    nodes = {identity: node for identity, node in before.items() if known.get(node, GONE) != GONE}
    for identity in set(nodes) - {site.identity for site in deployment.sites}:
        flwr.unregister(nodes.pop(identity))
        say(f"{identity} is no node of the {place.connection} SuperLink any more")
    if nodes != before:
        write_json(place.registered, nodes)


def is_registered(deployment: Deployment, place: Place, site: Site) -> bool:
    """Whether the SuperLink of a place knows a site's key, which is written down if a killed command has not."""
    nodes: dict[str, str] = json_in(place.registered)
    if site.identity not in nodes:
        found = Flwr(deployment.programs, place).node_of(site.identity)
        if not found:
            return False
        write_json(place.registered, nodes | {site.identity: found})
    return True


def _node(deployment: Deployment, place: Place, site: Site) -> str:
    """The node of a site: registered now, or before by a command that was killed and could not write it down."""
    flwr = Flwr(deployment.programs, place)
    try:
        return flwr.register(deployment.site_folder(site.name) / "node.key.pub", site.name)
    except HawthornError as error:
        found = flwr.node_of(site.identity)
        if found:
            return found
        once = "; a key that was unregistered can never be registered again: the site needs a new one"
        raise HawthornError(f"{site.name} is not registered: {error}{once if IN_USE in str(error) else ''}") from error
