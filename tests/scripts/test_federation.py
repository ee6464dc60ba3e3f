from collections.abc import Iterable

import pytest
from flwr.app import Array, Message
from hawthorn.scripts.engine import app
from hawthorn.scripts.federation import Federation, Run
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.scripts.results import Results
from hawthorn.server.settings import Settings
from hawthorn.strategies import SettingError

CONFIG = {"clients": 6, "hostile": 1, "attack": "sign_flip", "rounds": 3, "local-epochs": 1, "tolerated": "1"}


class Breaking(InProcessGrid):
    """A grid whose last node adds an array to its reply from the second round on."""

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids = super().push_messages(messages)
        for reply in self._replies.values():
            if reply.metadata.src_node_id == self.get_node_ids()[-1] and self._sent > 2 * 6:
                arrays = reply.content.array_records["arrays"]
                arrays["extra"] = Array(next(iter(arrays.values())).numpy())
                reply.content["arrays"] = arrays
        return ids


def federation() -> Federation:
    settings = Settings.parse(CONFIG)
    return Federation.of(settings, settings.recipe)


def test_a_server_that_dies_undefended_is_a_result_and_the_hedge_goes_on():
    one = federation()
    seen: list[int] = []
    stopped = one.run("undefended", Breaking(app, 6), lambda run: seen.append(len(run.accuracy)))
    assert stopped.stopped is not None
    assert stopped.stopped.startswith("round 2: InconsistentMessageReplies")
    assert seen == [0, 1]

    defended = one.run("defended", Breaking(app, 6), lambda run: None)
    assert defended.stopped is None
    assert len(defended.accuracy) == 3
    assert [set(record.refused) for record in defended.records] == [set(), {5}, {5}]


def test_a_refused_reply_counts_as_rejected_and_as_the_worst_looking():
    one = federation()
    runs: dict[str, Run] = {"defended": one.run("defended", Breaking(app, 6), lambda run: None)}
    results = Results.of(one, "in-process", runs)
    refused = [reply for reply in results.contributions if reply.refused]
    assert [(reply.round, reply.client, reply.accepted, reply.p_value) for reply in refused] == [
        (2, "5", False, None),
        (3, "5", False, None),
    ]
    assert results.clients[5].rejected >= 2
    shown = [verdict for verdict in results.document()["verdicts"] if verdict["client"] == "5"][-1]
    assert shown["scores"] == {}
    assert "extra" in shown["reason"]


def test_any_other_run_that_dies_is_an_error():
    with pytest.raises(Exception, match="same keys"):
        federation().run("no_attack", Breaking(app, 6), lambda run: None)


def test_everybody_hostile_is_no_federation():
    settings = Settings.parse({**CONFIG, "hostile": 6})
    with pytest.raises(SettingError, match="hostile must be below clients=6"):
        Federation.of(settings, settings.recipe)


def test_a_simulation_weighs_no_clients_and_says_so():
    settings = Settings.parse({**CONFIG, "weighted-by": "examples"})
    with pytest.raises(SettingError, match="write weighted-by=''"):
        Federation.of(settings, settings.recipe)
