"""What one client is to do, read from Flower's context: its share of a task, how to train, whether it is hostile."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from flwr.app import ConfigRecord, Context, Message
from hawthorn.strategies.contract import attackers
from hawthorn.strategies.errors import SettingError

from .attacks import Knowledge, Recipe, hostile_clients
from .tasks import Examples, Task, find_task, partition
from .tasks.partition import Indices
from .training import Training
from .vectors import vector

LAST_SENT = "hawthorn-last-sent"  # the record of a hostile client's state that holds the model it was last sent

Value = TypeVar("Value", str, int, float)


def read(config: Mapping[str, object], key: str, default: Value) -> Value:
    """The value of a setting, of the type of its default; raises `SettingError` if it is of another."""
    value = config.get(key, default)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, type(default)) or isinstance(value, bool):
        raise SettingError(f"{key} must be {type(default).__name__}, such as {key}={default!r}; got {value!r}")
    return value


def task_of(run_config: Mapping[str, object]) -> Task:
    """The task that a run config names."""
    return find_task(read(run_config, "task", "digits"), read(run_config, "data", "") or None)


def server_round(message: Message) -> int:
    """The number of the round a message belongs to, 0 where the strategy does not say."""
    config = message.content.config_records.get("config", ConfigRecord())
    return read(config, "server-round", 0)


@dataclass(frozen=True)
class Assignment:
    """One client's part in a federation; `recipe` is what it does if it is hostile, and empty if it is honest.

    `hostile` are the numbers of all clients that are, ascending.
    """

    client: int
    clients: int
    hostile: tuple[int, ...]
    recipe: Recipe
    task: Task
    partition: str
    seed: int
    training: Training
    learning_rate_decay: float
    client_momentum: float
    root_examples: int = 0

    @classmethod
    def of(cls, context: Context) -> Assignment:
        """The assignment in a context: the client's number from the node config, everything else from the run config.

        Raises `SettingError` for what is missing or wrong.
        """
        run, node = context.run_config, context.node_config
        if "partition-id" not in node:
            raise SettingError("no partition-id in the node config: start the node with --node-config 'partition-id=0'")
        client = read(node, "partition-id", 0)
        clients = read(node, "num-partitions", read(run, "clients", 10))
        if not 0 <= client < clients:
            raise SettingError(
                f"partition-id must be from 0 to {clients - 1}, as there are {clients} clients; got {client}"
            )
        seed = read(run, "seed", 1)
        hostile = hostile_clients(clients, attackers(run.get("hostile", 0), clients), seed)
        training, decay = schedule(run)
        return cls(
            client=client,
            clients=clients,
            hostile=tuple(sorted(hostile)),
            recipe=Recipe.parse(read(run, "attack", "")) if client in hostile else Recipe(),
            task=task_of(run),
            partition=read(run, "partition", "dirichlet(0.5)"),
            seed=seed,
            training=training,
            learning_rate_decay=decay,
            client_momentum=read(run, "client-momentum", 0.0),
            root_examples=read(run, "root-examples", 0),
        )

    @classmethod
    def honest(cls, task: Task, client: int, clients: int, partition: str, seed: int) -> Assignment:
        """The part of one client in a federation in which nobody is hostile and all else is as usual."""
        training, decay = schedule({})
        return cls(client, clients, (), Recipe(), task, partition, seed, training, decay, 0.0)

    @property
    def examples(self) -> tuple[Examples, Examples]:
        """The client's own examples: nine tenths to train on, and one tenth to judge the model by.

        Both hold at least one; a lone example serves for both.
        """
        part = parts(self.task, self.partition, self.clients, self.seed, self.hostile, self.root_examples)[self.client]
        kept = max(1, len(part) // 10)
        training = part[kept:] if len(part) > 1 else part
        return self.task.train[training], self.task.train[part[:kept]]

    def training_in(self, number: int) -> Training:
        """How the client trains in a round: the learning rate falls from one to the next, where it is to.

        Raises `SettingError` where it is to fall and the number of the round is not known.
        """
        if self.learning_rate_decay == 1:
            return self.training
        if number < 1:
            raise SettingError(
                "learning-rate-decay needs the number of the round, which the strategy does not send: put it into "
                "the training config as server-round, or write learning-rate-decay=1.0"
            )
        return replace(
            self.training, learning_rate=self.training.learning_rate * self.learning_rate_decay ** (number - 1)
        )

    def attack(self, message: Message) -> Recipe:
        """What the client does in the round of a message: its recipe, or nothing where that has it wait."""
        return self.recipe if self.recipe.active(server_round(message)) else Recipe()

    def knowledge(self, purpose: str, message: Message, context: Context) -> Knowledge:
        """What the client knows if it is hostile, and a random stream for a purpose.

        Poison is the same in every round. How the model moved is counted from the last one that this client was sent.
        """
        if self.client not in self.hostile:
            return Knowledge()
        number = server_round(message)
        before = context.state.array_records.get(LAST_SENT)
        moved = None
        if self.recipe.looks_back and before is not None:
            moved = vector(message.content.array_records["arrays"]) - vector(before)
        return Knowledge(
            rng=self.random(purpose, 0 if purpose == "poison" else number),
            round=number,
            clients=self.clients,
            hostile=len(self.hostile),
            members=(self.hostile.index(self.client),),
            moved=moved,
        )

    def random(self, purpose: str, round: int = 0) -> np.random.Generator:
        """A random stream of this client's own, another one for every purpose and round."""
        return stream(self.seed, self.client, purpose, round)


def stream(seed: int, client: int, purpose: str, round: int = 0) -> np.random.Generator:
    """The random stream of one client for a purpose in a round, the same wherever the client's work is done."""
    return np.random.default_rng([seed, 3, client, zlib.crc32(purpose.encode()), round])


def schedule(run_config: Mapping[str, object]) -> tuple[Training, float]:
    """How clients train in the first round, and what the learning rate is multiplied by after each."""
    training = Training(
        epochs=read(run_config, "local-epochs", 2),
        steps=read(run_config, "local-steps", 0),
        batch_size=read(run_config, "batch-size", 32),
        learning_rate=read(run_config, "learning-rate", 0.1),
        momentum=read(run_config, "momentum", 0.0),
    )
    return training, read(run_config, "learning-rate-decay", 1.0)


def held_back(task: Task, count: int, seed: int) -> Indices:
    """The indices, ascending, of the training examples that the server keeps, which no client has.

    They are drawn uniformly at random, as a server that collects some would have them: not one of each class for sure.
    Of examples that belong together the server may have some and a client the others. Raises `SettingError` unless
    some are left.
    """
    if not 0 <= count < len(task.train):
        raise SettingError(
            f"root-examples must be below the {len(task.train)} training examples of {task.name}, got {count}"
        )
    return np.sort(np.random.default_rng([seed, 5]).choice(len(task.train), size=count, replace=False))


# All clients of a simulation in one process share the cut; a task is one object per process, so it can be the key.
@functools.lru_cache(maxsize=16)
def parts(
    task: Task, spec: str, clients: int, seed: int, hostile: tuple[int, ...] = (), root_examples: int = 0
) -> tuple[Indices, ...]:
    """Each client's training examples, as `partition` splits those that the server does not keep."""
    left = np.delete(np.arange(len(task.train)), held_back(task, root_examples, seed))
    groups = None if task.groups is None else task.groups[left]
    return tuple(left[part] for part in partition(spec, task.train.y[left], clients, seed, groups, hostile))
