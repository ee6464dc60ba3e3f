"""What a client says of the data behind an update, signed with its key: see `strategies/flower/provenance.py`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from hawthorn.strategies.errors import SettingError
from hawthorn.strategies.flower.provenance import LONGEST_TEXT, MOST_CLASSES, Manifest, arrays_digest, is_text

from .assignment import read, server_round
from .tasks.examples import Examples
from .vetting import Report, dataset_digest

log = logging.getLogger(__name__)

NOTE = "hawthorn.data"  # where a client's state holds what its next manifest says of the data


def flag(config: Mapping[str, object], key: str, default: bool = False) -> bool:
    """The value of a setting that is true or false; raises `SettingError` for any other."""
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise SettingError(f"{key} must be true or false, got {value!r}")
    return value


def key_file(context: Context) -> str:
    """The file of the key that manifests are signed with; empty if the node has none.

    Raises `SettingError` where the federation requires manifests and there is none.
    """
    path = read(context.node_config, "manifest-key", "")
    if not path and flag(context.run_config, "require-manifest"):
        raise SettingError(
            "this federation takes no update without a signed manifest: start the node with --node-config "
            "'manifest-key=\"/path/to/key\"', the private key that it authenticates with"
        )
    return path


def note(context: Context, data: Examples, report: Report | None = None) -> None:
    """Keep in the client's state what its next manifest says of the data that it trains on."""
    context.state[NOTE] = ConfigRecord(
        {
            "dataset": dataset_digest(data),
            "examples": len(data),
            "classes": [int(count) for count in np.bincount(data.y, minlength=data.classes)],
            "vetting": "" if report is None else json.dumps(report.summary()),
        }
    )


def manifest_of(message: Message, context: Context, arrays: ArrayRecord) -> Manifest:
    """What a client says beside the arrays that it answers a message with.

    The examples of each class are told only if the setting `manifest-classes` of the run and of the node allow it.
    """
    found = context.state.config_records.get(NOTE, ConfigRecord())
    source = read(context.node_config, "source", "")
    if not is_text(source):
        raise SettingError(
            f"source must be text of at most {LONGEST_TEXT} characters, none of them NUL, got {source!r}"
        )
    told = flag(context.run_config, "manifest-classes") and flag(context.node_config, "manifest-classes", True)
    classes, vetting = found.get("classes"), str(found.get("vetting", ""))
    if told and isinstance(classes, list) and len(classes) > MOST_CLASSES:
        log.warning("the manifest goes out without the examples of each class: it holds those of %d", MOST_CLASSES)
        told = False
    return Manifest(
        run=str(message.metadata.run_id),
        round=server_round(message),
        node=str(context.node_id),
        sent=arrays_digest(next(iter(message.content.array_records.values()))),
        arrays=arrays_digest(arrays),
        dataset=str(found.get("dataset", "")),
        examples=int(str(found.get("examples", 0))),
        source=source,
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        software=f"hawthorn {version('hawthorn')}",
        classes=[int(str(count)) for count in classes] if told and isinstance(classes, list) else None,
        vetting=json.loads(vetting) if vetting else None,
    )
