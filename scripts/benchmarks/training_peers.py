"""How others train the clients of a round: a plain PyTorch loop, ByzFL, and Flower's simulation; and the bare training.

All train the same network on the same share of the same images, one step on one batch for each client. ByzFL aggregates
with its own NNM and trimmed mean, Flower with its own trimmed mean alone, as it has no NNM, and the loop with ours.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from flwr.app import ConfigRecordValues, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedTrimmedAvg
from hawthorn.client.fleet import Job
from hawthorn.client.stacking import differentiated, stacks, step_batch
from hawthorn.client.tasks import Examples, Task
from hawthorn.client.tasks.files import opened
from hawthorn.client.tasks.lookup import cache_folder
from hawthorn.client.training import Training, arrays_of, load_arrays, one_thread, train
from hawthorn.strategies import Defense
from hawthorn.strategies.errors import HawthornError
from torch import Tensor, nn
from torch.nn import functional

from .replies import quiet

Answer = TypeVar("Answer")

BATCH, RATE = 32, 0.1
STILL = 1e-9  # a rate at which a model stays as it is: what has learned its batch by heart would pool faster
TRAINING = Training(epochs=1, steps=1, batch_size=BATCH, learning_rate=RATE)


class ConvolutionalNetwork(nn.Module):
    """Two convolutions with pooling and two dense layers, of the sizes of ByzFL's `cnn_mnist`; images `(N, 28, 28)`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 20, kernel_size=5)
        self.second = nn.Conv2d(20, 50, kernel_size=5)
        self.hidden = nn.Linear(800, 500)
        self.last = nn.Linear(500, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(N, 10)`."""
        x = functional.max_pool2d(functional.relu(self.first(x.unsqueeze(1))), 2)
        x = functional.max_pool2d(functional.relu(self.second(x)), 2)
        return self.last(functional.relu(self.hidden(x.flatten(1))))


@functools.lru_cache(maxsize=1)
def images() -> Examples:
    """MNIST's training images where `mnist.npz` is at hand; else as many random ones, which take as long."""
    folders = (os.environ.get("HAWTHORN_DATA"), cache_folder())
    for folder in (Path(folder) for folder in folders if folder):
        if (folder / "mnist.npz").is_file():
            return opened(folder / "mnist.npz", class_names=[str(digit) for digit in range(10)]).examples()[0]
    rng = np.random.default_rng(0)
    return Examples(rng.random((60_000, 28, 28), dtype=np.float32), rng.integers(0, 10, 60_000), 10)


def shares(examples: Examples, clients: int) -> list[Examples]:
    """Every client's own examples: equal shares."""
    return [examples[place::clients] for place in range(clients)]


class Bare:
    """Forward, backward and step of every client, on batches that lie ready, in the fleet's way and on its threads.

    Nothing is drawn, put together or aggregated: no engine can take less.
    """

    def __init__(self, task: Task, jobs: Sequence[Job], method: str, threads: int) -> None:
        self.loss = task.loss
        self.layout = torch.channels_last if method == "channels_last" else torch.contiguous_format
        self.models = [task.model(1) for _ in range(threads)]
        for model in self.models:
            for parameter in model.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=self.layout)
        self.pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        size = sum(parameter.numel() for parameter in self.models[0].parameters())
        alone = [[place] for place in range(len(jobs))]
        units = alone if method != "stacked" else list(stacks(jobs, range(len(jobs)), size))
        self.stacked = method == "stacked"
        self.work = [self._ready([jobs[place] for place in places]) for places in units]

    def _ready(self, jobs: Sequence[Job]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        data = [(torch.from_numpy(job.examples.x), torch.from_numpy(job.examples.y)) for job in jobs]
        batch = step_batch(data, [next(job.batches()) for job in jobs])
        if not self.stacked:
            return [], tuple(tensor[0] for tensor in batch)
        parameters = self.models[0].parameters()
        return [own.detach().expand(len(jobs), *own.shape).clone() for own in parameters], batch

    def __call__(self) -> None:
        """Train everybody once."""
        left = iter(self.work)

        def work(model: nn.Module) -> None:
            for parameters, batch in left:
                if self.stacked:
                    gradients, _ = differentiated(model, self.loss)(tuple(parameters), *batch)
                else:
                    parameters = list(model.parameters())
                    gradients = torch.autograd.grad(self.loss(model(batch[0]), batch[1]).mean(), parameters)
                with torch.no_grad():
                    for parameter, gradient in zip(parameters, gradients, strict=True):
                        parameter.sub_(gradient, alpha=STILL)

        with one_thread():
            list(self.pool.map(work, self.models))


class Loop:
    """The loop one would write: for each client the model is loaded, trained by `torch.optim.SGD`, and subtracted."""

    def __init__(self, task: Task, clients: Sequence[Examples], defense: Defense) -> None:
        self.model = task.model(1)
        self.loss = task.loss
        self.defense = defense
        self.clients = clients
        self.sent = nn.utils.parameters_to_vector(self.model.parameters()).detach()

    def __call__(self) -> None:
        """One round."""
        rows: list[Tensor] = []
        for examples in self.clients:
            nn.utils.vector_to_parameters(self.sent.clone(), self.model.parameters())
            optimizer = torch.optim.SGD(self.model.parameters(), lr=RATE)
            chosen = torch.randperm(len(examples))[:BATCH]
            x, y = torch.from_numpy(examples.x)[chosen], torch.from_numpy(examples.y)[chosen]
            optimizer.zero_grad()
            self.loss(self.model(x), y).mean().backward()
            optimizer.step()
            rows.append(nn.utils.parameters_to_vector(self.model.parameters()).detach() - self.sent)
        self.sent += torch.as_tensor(self.defense(torch.stack(rows)).update)


def byzfl_round(examples: Sequence[Examples], f: int) -> Callable[[], None]:
    """A step of ByzFL's training loop with its own network, clients and server; raises `ImportError` without it."""
    byzfl: Any = import_module("byzfl")
    common: dict[str, Any] = {
        "model_name": "cnn_mnist",
        "device": "cpu",
        "optimizer_name": "SGD",
        "learning_rate": RATE,
        "weight_decay": 0.0,
        "milestones": [],
        "learning_rate_decay": 1.0,
    }
    loaders: list[Any] = [
        torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(torch.from_numpy(own.x).unsqueeze(1), torch.from_numpy(own.y)),
            batch_size=BATCH,
            shuffle=True,
        )
        for own in examples
    ]
    own = {"loss_name": "NLLLoss", "LabelFlipping": False, "momentum": 0.0, "nb_labels": 10}
    own["store_per_client_metrics"] = False
    clients = [byzfl.Client({**common, **own, "training_dataloader": loader}) for loader in loaders]
    server = byzfl.Server(
        {
            **common,
            "test_loader": loaders[0],
            "validation_loader": None,
            "aggregator_info": {"name": "TrMean", "parameters": {"f": f}},
            "pre_agg_list": [{"name": "NNM", "parameters": {"f": f}}],
        }
    )

    def one_round() -> None:
        for client in clients:
            client.compute_gradients()
        server.update_model_with_gradients([client.get_flat_gradients_with_momentum() for client in clients])
        state = server.get_dict_parameters()
        for client in clients:
            client.set_model_state(state)

    return one_round


app = ClientApp()
"""A client of Flower's simulation, which trains as little as all others here."""


@functools.lru_cache(maxsize=1)
def _shares(clients: int) -> list[Examples]:
    return shares(images(), clients)


@app.train()
def trained(message: Message, context: Context) -> Message:
    """The model after one step."""
    examples = _shares(int(context.node_config["num-partitions"]))[int(context.node_config["partition-id"])]
    model = ConvolutionalNetwork()
    load_arrays(model, message.content.array_records["arrays"])
    loss = train(model, examples, TRAINING, seed=int(np.random.default_rng().integers(2**63)))
    metrics = MetricRecord({"train-loss": loss, "num-examples": len(examples)})
    return Message(RecordDict({"arrays": arrays_of(model), "metrics": metrics}), reply_to=message)


class FlowerRound:
    """A round as Flower's own strategy runs it: sampling, messages, replies, and its trimmed mean."""

    def __init__(self, grid: Grid, task: Task, f: int) -> None:
        self.grid = grid
        self.arrays = arrays_of(task.model(1))
        self.beta = f / len(list(grid.get_node_ids()))

    def __call__(self) -> None:
        """One round; raises `HawthornError` if there is no model after it."""
        strategy = FedTrimmedAvg(fraction_evaluate=0, beta=self.beta)
        result = strategy.start(grid=self.grid, initial_arrays=self.arrays, num_rounds=1)
        if not result.train_metrics_clientapp:
            raise HawthornError("a client of Flower's simulation failed")
        self.arrays = result.arrays


def in_flower(clients: int, work: Callable[[Grid], Answer]) -> Answer:
    """What `work` returns, given the grid of a Flower simulation; raises `ImportError` without Ray."""
    import_module("ray")
    from flwr.simulation import run_simulation

    answers: list[Answer] = []
    errors: list[Exception] = []
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, _context: Context) -> None:  # pyright: ignore[reportUnusedFunction]  # the decorator uses it
        try:
            while len(list(grid.get_node_ids())) < clients:  # Flower starts its server before its nodes
                time.sleep(0.05)
            answers.append(work(grid))
        except Exception as error:  # Flower would only log it
            errors.append(error)

    backend: dict[str, dict[str, ConfigRecordValues]] = {
        "client_resources": {"num_cpus": 1},
        "init_args": {"log_to_driver": False},
    }
    with quiet():
        run_simulation(server_app, app, num_supernodes=clients, backend_config=backend)
    if errors:
        raise errors[0]
    return answers[0]
