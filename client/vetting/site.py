"""Vetting in a federation: once for the same data, and with a memory of the round before in the client's own state."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context

from ..tasks.examples import Examples
from .digest import example_digests, ordered_digest
from .drift import Sketch, drifts
from .report import Report
from .vetting import Vetting, of_data, with_triggers

SKETCH = "hawthorn.vetting.sketch"  # where a client's state keeps what it remembers of its data
REPORT = "hawthorn.vetting.report"  # and what the checks of the data alone have found
LONGEST = 256 * 1024  # characters of that; a client's state travels with every message

log = logging.getLogger(__name__)


def vetted_by(
    context: Context, vetting: Vetting, data: Examples, held_out: Examples, model: torch.nn.Module | None
) -> Report:
    """What is wrong with a client's data in this round.

    What data alone tell is looked for again only when they have changed; triggers are, in every round, since the
    model's features change. Data of a round before, which an earlier call has left in the state, are compared with.
    """
    key = ordered_digest([*example_digests(data), b"|", *example_digests(held_out)]) + repr(replace(vetting, action=""))
    report = _remembered(context, key, vetting)
    if report is None:
        sketch, before = Sketch.of(data), _sketch(context)
        report = of_data(data, held_out, vetting)
        _remember(context, key, report, sketch)
        if before is not None:
            report = replace(report, drifts=drifts(before, sketch, vetting.level))
    report = with_triggers(report, data, vetting, model)
    if not report.clean:
        log.log(logging.INFO if vetting.action == "report" else logging.WARNING, "vetting: %s", report)
    return report


def _remembered(context: Context, key: str, vetting: Vetting) -> Report | None:
    record = context.state.config_records.get(REPORT)
    if record is None or record["key"] != key or not record["report"]:
        return None
    return replace(Report.of(json.loads(str(record["report"]))), action=vetting.action)


def _remember(context: Context, key: str, report: Report, sketch: Sketch) -> None:
    written = json.dumps(report.document())
    context.state[REPORT] = ConfigRecord({"key": key, "report": written if len(written) <= LONGEST else ""})
    arrays = {"counts": sketch.counts, "labels": sketch.labels, "values": sketch.values}
    context.state[SKETCH] = ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def _sketch(context: Context) -> Sketch | None:
    record = context.state.array_records.get(SKETCH)
    return None if record is None else Sketch(*(record[name].numpy() for name in ("counts", "labels", "values")))
