"""The ClientApp of a hostile client, called with Flower's own messages, round after round."""

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hawthorn.client.app import app
from hawthorn.client.assignment import Assignment
from hawthorn.client.attacks import Knowledge, Recipe, hostile_clients
from hawthorn.client.provider import holdout, initial_arrays
from hawthorn.client.tasks import Task
from hawthorn.client.training import arrays_of, train
from hawthorn.client.vectors import moved, vector
from hawthorn.strategies import SettingError

HOSTILE = sorted(hostile_clients(10, 3, seed=1))
HONEST = min(set(range(10)) - set(HOSTILE))

Client = Callable[..., Message]


@pytest.fixture
def client_of(monkeypatch: pytest.MonkeyPatch, digits: Task) -> Callable[..., Client]:
    """A client of a federation of ten, which keeps its state from message to message, as in Flower."""
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)  # Flower makes no message outside a run

    def client(attack: str, partition: int = HOSTILE[0], hostile: object = 3) -> Client:
        node, run = {"partition-id": partition, "num-partitions": 10}, {"hostile": hostile, "attack": attack}
        context = Context(1, 1, node, RecordDict(), run)

        def reply(number: int = 1, arrays: ArrayRecord | None = None) -> Message:
            content = {
                "arrays": arrays or arrays_of(digits.model(seed=1)),
                "config": ConfigRecord({"server-round": number}),
            }
            return app(Message(RecordDict(content), 1, "train"), context)

        return reply

    return client


def update(reply: Message, sent: ArrayRecord) -> np.ndarray:
    assert not reply.has_error(), reply.error
    return vector(reply.content.array_records["arrays"]) - vector(sent)


@pytest.mark.parametrize("attack", ["sign_flip", "label_flip", "sponge", "lie_about_counts", "label_flip + sign_flip"])
@pytest.mark.parametrize("when", ["sleeper(wakes=2)", "schedule(start=2, every=2)"])
def test_outside_its_rounds_a_hostile_client_is_honest_in_everything(
    attack: str, when: str, client_of: Callable[..., Client]
) -> None:
    honest, hostile = client_of("", hostile=0), client_of(f"{attack} + {when}")
    assert hostile(1).content == honest(1).content
    assert hostile(2).content != honest(2).content
    assert (hostile(3).content == honest(3).content) == when.startswith("schedule")


def test_a_share_of_the_clients_can_be_hostile(client_of: Callable[..., Client]) -> None:
    told = [client_of("sign_flip", client, 0.25)(1).content for client in range(10)]
    counted = [client_of("sign_flip", client, 3)(1).content for client in range(10)]
    assert told == counted
    assert client_of("sign_flip", hostile="0.25")(1).content == told[HOSTILE[0]]
    refused = client_of("sign_flip", hostile=1.5)(1)
    assert "or a share of them below 1" in str(refused.error.reason)


def test_poison_is_the_same_in_every_round(client_of: Callable[..., Client], digits: Task) -> None:
    """Only the batches differ: with all examples in one batch, rounds are alike."""
    client = client_of("backdoor(share=0.2)")
    context = {"batch-size": 10_000, "local-epochs": 1}
    replies = []
    for number in (1, 2):
        content = {"arrays": arrays_of(digits.model(seed=1)), "config": ConfigRecord({"server-round": number})}
        node = {"partition-id": HOSTILE[0], "num-partitions": 10}
        run = {"hostile": 3, "attack": "backdoor(share=0.2)", **context}
        replies.append(app(Message(RecordDict(content), 1, "train"), Context(1, 1, node, RecordDict(), run)))
    first, second = (update(reply, arrays_of(digits.model(seed=1))) for reply in replies)
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert not np.array_equal(update(client(1), arrays_of(digits.model(seed=1))), first)


def test_neurotoxin_freezes_what_moved_most_since_the_model_before(
    client_of: Callable[..., Client], digits: Task
) -> None:
    start = arrays_of(digits.model(seed=1))
    move = np.random.default_rng(1).normal(size=len(vector(start))) * 1e-3
    client = client_of("backdoor + neurotoxin(share=0.1)")
    first = update(client(1, start), start)
    assert (first != 0).mean() > 0.7  # nothing to look at yet; pixels that are always dark teach nothing
    after = moved(start, move)
    second = update(client(2, after), after)
    heavy = np.argsort(-np.abs(vector(after) - vector(start)))[: len(move) // 10]
    assert not second[heavy].any()
    without = update(client_of("backdoor")(2, after), after)
    assert (without[heavy] != 0).mean() > 0.7


def test_a_free_rider_repeats_the_move_it_saw_also_after_rounds_of_honesty(
    client_of: Callable[..., Client], digits: Task
) -> None:
    start = arrays_of(digits.model(seed=1))
    after = moved(start, np.full(len(vector(start)), 0.01))
    client = client_of("free_rider(sends='moved') + sleeper(wakes=2)")
    assert update(client(1, start), start).any()
    np.testing.assert_allclose(update(client(2, after), after), 0.01, atol=1e-6)
    assert not update(client_of("free_rider")(1, start), start).any()


def test_a_client_that_needs_no_memory_keeps_none(client_of: Callable[..., Client], digits: Task) -> None:
    node, run = {"partition-id": HOSTILE[0], "num-partitions": 10}, {"hostile": 3, "attack": "sign_flip"}
    context = Context(1, 1, node, RecordDict(), run)
    client_of("")  # sets up Flower
    content = RecordDict({"arrays": arrays_of(digits.model(seed=1)), "config": ConfigRecord({"server-round": 1})})
    app(Message(content, 1, "train"), context)
    assert not context.state


@pytest.mark.parametrize("place", range(3))
def test_each_attacker_of_dba_trains_on_its_own_part(
    place: int, client_of: Callable[..., Client], digits: Task
) -> None:
    start, recipe = arrays_of(digits.model(seed=1)), Recipe.parse("dba(share=1.0)")
    node, run = {"partition-id": HOSTILE[place], "num-partitions": 10}, {"hostile": 3, "attack": str(recipe)}
    assignment = Assignment.of(Context(1, 1, node, RecordDict(), run))
    examples = recipe.poisoned(assignment.examples[0], Knowledge(rng=assignment.random("poison"), members=(place,)))
    assert ((examples.x - assignment.examples[0].x)[:, place, :4] != 0).any()
    model = digits.model(seed=1)
    train(model, examples, assignment.training, seed=int(assignment.random("batches", 1).integers(2**63)))
    found = update(client_of(str(recipe), HOSTILE[place])(1), start)
    np.testing.assert_allclose(found, vector(arrays_of(model)) - vector(start), atol=1e-6)


@pytest.mark.parametrize("attack", ["sybil", "mimic", "min_max(direction='own') + jitter", "sign_flip + ipm"])
def test_colluders_leave_all_crafting_to_the_simulation(attack: str, client_of: Callable[..., Client]) -> None:
    assert client_of(attack)(1).content == client_of("", hostile=0)(1).content


def test_data_and_crafting_compose_and_the_data_is_the_clients_part(client_of: Callable[..., Client]) -> None:
    assert client_of("label_flip + min_max(direction='own')")(1).content == client_of("label_flip")(1).content


def test_a_lie_about_counts_is_told_by_the_client_itself(client_of: Callable[..., Client]) -> None:
    metrics = client_of("lie_about_counts(count=5000)")(1).content.metric_records["metrics"]
    honest = client_of("", hostile=0)(1).content.metric_records["metrics"]
    assert metrics["num-examples"] == 5000
    assert metrics["train-loss"] == honest["train-loss"]


def test_a_malformed_reply_is_sent_by_the_client_itself(client_of: Callable[..., Client]) -> None:
    bad = client_of("malformed(case='all_nan')")(1)
    assert np.isnan(vector(bad.content.array_records["arrays"])).any()
    twice = client_of("malformed(case='twice')")(1)
    assert twice.content == client_of("", hostile=0)(1).content  # a client can send one reply only
    silent = client_of("malformed(case='silence')")(1)
    assert silent.has_error()
    assert "malformed(case='silence')" in silent.error.reason


def test_counters_are_left_as_they_were_sent(client_of: Callable[..., Client], digits: Task) -> None:
    sent = arrays_of(digits.model(seed=1))
    counted = ArrayRecord({**sent, "counter": Array(np.array([4], np.int64))})
    assert moved(counted, np.ones(len(vector(sent))))["counter"].numpy().tolist() == [4]


@pytest.mark.parametrize(
    ("run_config", "message"),
    [
        ({"hostile": 3, "attack": "mimic"}, "made from other clients' updates"),
        ({"hostile": 3, "attack": "label_flip + sybil"}, "use hawthorn simulate"),
        ({"hostile": 0.3, "attack": "malformed(case='all_nans')"}, "did you mean 'all_nan'"),
        ({"hostile": 1.5, "attack": "sign_flip"}, "or a share of them below 1"),
    ],
    ids=str,
)
def test_a_server_finds_out_before_the_first_round(run_config: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        initial_arrays(run_config)


def test_a_server_measures_the_success_of_a_share_of_clients_too(digits: Task) -> None:
    record = holdout({"hostile": 0.3, "attack": "backdoor"})(1, arrays_of(digits.model(seed=1)))
    assert "attack-success" in record
    assert "attack-success" not in holdout({"hostile": 0.0, "attack": "backdoor"})(1, arrays_of(digits.model(seed=1)))
