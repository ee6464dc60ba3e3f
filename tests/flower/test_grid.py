"""The streaming grid: replies one by one, each pulled alone, and whatever goes wrong with one is its own loss."""

import gc
import weakref

import httpx
import pytest
from flower_rounds import assert_same_model, honest, sent_model
from flwr.app import ConfigRecord, Message
from flwr.serverapp.strategy import FedAvg
from hawthorn.client.attacks.forging import forged
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.strategies import Defense, RobustStrategy
from hawthorn.strategies.flower import StreamingGrid

MEDIAN = Defense("median", f=0.2)


def messages_to(grid):
    return FedAvg().configure_train(1, sent_model(), ConfigRecord(), grid)


def sources(replies):
    return sorted(reply.metadata.src_node_id for reply in replies)


class Lazy(InProcessGrid):
    """Clients that work when their reply is pulled, as if it had only then arrived."""

    def push_messages(self, messages):
        self.waiting = {}
        for message in messages:
            message.metadata.__dict__["_message_id"] = self._new_id()
            self.waiting[message.metadata.message_id] = message
        return list(self.waiting)

    def pull_messages(self, message_ids):
        return [self._reply(self.waiting.pop(name)) for name in list(message_ids) if name in self.waiting]


def test_one_reply_is_alive_at_a_time():
    gc.freeze()  # what is there already is not looked through ten times
    alive = weakref.WeakSet()
    most = 0
    for reply in StreamingGrid(Lazy(honest, 10)).send_and_receive(messages_to(Lazy(honest, 10))):
        alive.add(reply)
        del reply
        gc.collect()
        most = max(most, len(alive))
    assert most <= 1


def test_the_strategy_lets_each_reply_go_before_the_next():
    gc.freeze()
    alive = weakref.WeakSet()
    most = 0

    class Watching(Lazy):
        def pull_messages(self, message_ids):
            nonlocal most
            gc.collect()
            most = max(most, len(alive))
            replies = super().pull_messages(message_ids)
            alive.update(replies)
            return replies

    strategy = RobustStrategy(FedAvg(fraction_evaluate=0.0), MEDIAN)
    strategy.start(Watching(honest, 10), sent_model(), num_rounds=2)
    assert len(strategy.last_round.verdicts) == 10
    assert most <= 1


class Malformed(Lazy):
    """One node's reply cannot be inflated; it is lost in the attempt, as with Flower's own grids."""

    def pull_messages(self, message_ids):
        names = list(message_ids)
        if any(self.waiting[n].metadata.dst_node_id == 103 for n in names if n in self.waiting):
            for name in names:
                self.waiting.pop(name, None)
            raise ValueError("Unexpected set of `children`." * 50)
        return super().pull_messages(names)


def test_one_malformed_object_tree_costs_one_client():
    strategy = RobustStrategy(FedAvg(), MEDIAN)
    strategy.start(Malformed(honest, 10), sent_model(), num_rounds=1, timeout=60)
    assert sorted(strategy.last_round.verdicts) == [101, 102, *range(104, 111)]
    assert "cannot be read: ValueError: 'Unexpected set of" in strategy.last_round.refused[103]


@pytest.mark.parametrize("error", [httpx.ConnectError("gone"), ConnectionResetError("gone")])
def test_a_superlink_that_is_gone_is_no_clients_fault(error):
    class Gone(Lazy):
        def pull_messages(self, message_ids):
            raise error

    with pytest.raises(type(error), match="gone"):
        RobustStrategy(FedAvg(), MEDIAN).start(Gone(honest, 10), sent_model())


class WithoutPushAndPull(InProcessGrid):
    """A grid that has nothing but send_and_receive."""

    def push_messages(self, messages):
        raise NotImplementedError

    def pull_messages(self, message_ids):
        raise NotImplementedError

    def send_and_receive(self, messages, *, timeout=None):
        inner = InProcessGrid(honest, 10)
        return inner.send_and_receive(messages, timeout=timeout)


class Mute(WithoutPushAndPull):
    """The same, with stubs that do nothing."""

    def push_messages(self, messages):
        return None


@pytest.mark.parametrize("grid", [WithoutPushAndPull, Mute])
def test_a_grid_with_only_send_and_receive_will_do(grid):
    expected = RobustStrategy(FedAvg(), MEDIAN).start(InProcessGrid(honest, 10), sent_model(), num_rounds=2)
    found = RobustStrategy(FedAvg(), MEDIAN).start(grid(honest, 10), sent_model(), num_rounds=2)
    assert_same_model(found.arrays, expected.arrays)


def test_who_is_late_is_not_waited_for():
    class Slow(Lazy):
        def pull_messages(self, message_ids):
            names = [n for n in message_ids if n in self.waiting and self.waiting[n].metadata.dst_node_id != 105]
            return super().pull_messages(names)

    strategy = RobustStrategy(FedAvg(fraction_evaluate=0.0), MEDIAN)
    strategy.start(Slow(honest, 10), sent_model(), num_rounds=1, timeout=0.3)
    assert strategy.last_round.refused == {105: "no reply"}
    assert len(strategy.last_round.verdicts) == 9


def test_an_impostors_reply_does_not_end_the_wait_for_the_client():
    class Forged(Lazy):
        """Node 104's reply comes second; before it comes one that only pretends to answer the same message."""

        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.pretended = False

        def pull_messages(self, message_ids):
            names = list(message_ids)
            asked = [self.waiting[n] for n in names if n in self.waiting]
            if not self.pretended and any(message.metadata.dst_node_id == 104 for message in asked):
                self.pretended = True
                return [forged(self._reply(asked[0]), src_node_id=666)]
            return super().pull_messages(names)

    strategy = RobustStrategy(FedAvg(), MEDIAN)
    strategy.start(Forged(honest, 10), sent_model(), num_rounds=1, timeout=60)
    assert 104 in strategy.last_round.verdicts
    assert set(strategy.last_round.refused) == {666}


def test_two_replies_pulled_at_once_are_both_handed_on():
    class Twice(Lazy):
        """Node 104 answers twice, and both answers lie there when the grid looks."""

        def pull_messages(self, message_ids):
            replies = super().pull_messages(message_ids)
            return [other for one in replies for other in ([one, one] if one.metadata.src_node_id == 104 else [one])]

    replies = StreamingGrid(Twice(honest, 5)).send_and_receive(messages_to(grid := Twice(honest, 5)))
    assert sources(replies) == [101, 102, 103, 104, 104, 105]
    strategy = RobustStrategy(FedAvg(), MEDIAN)
    strategy.start(grid, sent_model(), num_rounds=1, timeout=60)
    assert len(strategy.last_round.verdicts) == 5


def test_nothing_sent_is_nothing_received():
    assert list(StreamingGrid(InProcessGrid(honest, 3)).send_and_receive([])) == []


def test_messages_may_be_a_generator():
    grid = InProcessGrid(honest, 3)
    assert sources(StreamingGrid(grid).send_and_receive(message for message in messages_to(grid))) == [101, 102, 103]


def test_all_else_is_the_wrapped_grids():
    grid = InProcessGrid(honest, 3)
    streaming = StreamingGrid(grid)
    assert streaming.run.run_id == grid.run.run_id
    assert list(streaming.get_node_ids()) == [101, 102, 103]
    assert [node.node_id for node in streaming.get_nodes()] == [101, 102, 103]
    assert streaming._contexts is grid._contexts
    message = streaming.create_message(next(iter(messages_to(grid))).content, "train", 101, "")
    assert isinstance(message, Message)
    (name,) = streaming.push_messages([message])
    assert sources(streaming.pull_messages([name])) == [101]
    streaming.set_run(grid.run)
