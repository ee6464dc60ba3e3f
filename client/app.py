"""The client's app, ready for Flower: it trains and judges the models it is sent on its own share of a task.

Which share, and how to train, stands in the node config (`partition-id`, `num-partitions`) and the run config, both
read at every call. A client that the run config makes hostile attacks its examples, its training, its update or its
reply as `attack` says; of what colluding attackers make it does nothing, because only a simulation's server side knows
the honest updates.

Where the run config says so (`vetting`), the client looks for what is wrong with its examples before it trains. Updates
are clipped and covered with noise (`clip-norm`, `local-noise`) before they leave, and signed manifests of the data go
with them where the node has a key for that (`manifest-key`).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from .assignment import Assignment, read, server_round
from .manifest import key_file, note
from .mods import lie, private, refusal, signed, steady
from .tasks import Examples
from .training import arrays_of, evaluate, load_arrays, train
from .vetting import Vetting, kept
from .vetting.site import vetted_by

app = ClientApp(mods=[refusal])


@app.train(mods=[signed, lie, private, steady])
def trained(message: Message, context: Context) -> Message:
    """The model after local training, with the number of examples and the mean training loss."""
    assignment = Assignment.of(context)
    recipe, knowledge = assignment.attack(message), assignment.knowledge("poison", message, context)
    examples, held_out = assignment.examples
    examples = recipe.poisoned(examples, knowledge)
    config = message.content.config_records.get("config", ConfigRecord())
    model = assignment.task.model(assignment.seed)
    load_arrays(model, message.content.array_records["arrays"])
    examples = _vetted(context, examples, held_out, model)
    training = replace(assignment.training_in(server_round(message)), proximal=read(config, "proximal-mu", 0.0))
    loss = train(
        model,
        examples,
        recipe.trained(training, knowledge),
        seed=int(assignment.random("batches", server_round(message)).integers(2**63)),
        loss=assignment.task.loss,
    )
    metrics = MetricRecord({"num-examples": len(examples), "train-loss": loss})
    return Message(RecordDict({"arrays": arrays_of(model), "metrics": metrics}), reply_to=message)


def _vetted(context: Context, examples: Examples, held_out: Examples, model: torch.nn.Module) -> Examples:
    """The examples to train on: those that vetting leaves, where there is any; a manifest will tell of them."""
    written = read(context.run_config, "vetting", "")
    report = vetted_by(context, Vetting.parse(written), examples, held_out, model) if written else None
    left = kept(examples, report) if report else examples
    if key_file(context):
        note(context, left, report)
    return left


@app.evaluate()
def evaluated(message: Message, context: Context) -> Message:
    """How well the model does on the tenth of the client's examples that it does not train on."""
    assignment = Assignment.of(context)
    _, examples = assignment.examples
    model = assignment.task.model(assignment.seed)
    load_arrays(model, message.content.array_records["arrays"])
    metrics = evaluate(model, examples)
    record = MetricRecord({"num-examples": len(examples), "loss": metrics.loss, "accuracy": metrics.accuracy})
    return Message(RecordDict({"metrics": record}), reply_to=message)
