"""`hawthorn benchmark`: the real measurements on small sizes; no figure is judged, as the machine is not ours alone."""

import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hawthorn.scripts.benchmarks import history, peers, rounds, speed, timing
from hawthorn.strategies.contract import RULES
from hawthorn.strategies.errors import SettingError
from hawthorn.strategies.kernels.tasks import cores

SPEED = ("benchmark", "speed", "--clients", "5", "--values", "20000", "--repeats", "2")
FEW = (*SPEED, "--only", "^median$|^krum$|memcpy|np.sort")
ROUNDS = ("benchmark", "rounds", "--clients", "5", "--values", "20000", "--repeats", "2")


@pytest.fixture(scope="module")
def measured():
    return speed.measured(clients=(5,), values=(20_000,), repeats=2)


@pytest.fixture(scope="module")
def timed_rounds():
    return rounds.measured(clients=(7,), values=(20_000,), repeats=2)


def test_every_registered_rule_is_timed_beside_its_peers(measured):
    for size in measured["sizes"]:
        assert RULES.keys() <= size["work"].keys() | size["left_out"].keys()
        assert {"median", "trimmed_mean", "krum", "geometric_median", "memcpy", "NumPy: np.median"} <= size[
            "work"
        ].keys()
        assert {f"Flower: {name}" for name in rounds.STOCK} <= size["work"].keys()
        ours = {name for name, work in size["work"].items() if work["ours"]}
        assert ours == {name for name in size["work"] if name in RULES or name.startswith(("bare", "full", "geometry"))}


def test_times_are_multiples_of_one_read_of_the_same_run(measured):
    for size in measured["sizes"]:
        once = size["work"]["read once"]
        assert once["reads"] == once["reads_best"] == 1.0
        for work in size["work"].values():
            assert work["reads_best"] == pytest.approx(work["best"] / once["best"], abs=1e-3)
            assert 0 < work["best"] <= work["median"]
            assert work["runs"] == 2


def test_what_verdicts_add_is_told_for_each_pipeline(measured):
    for size in measured["sizes"]:
        assert size["overhead"].keys() == set(speed.PIPELINES)


def test_a_subject_that_used_up_its_seconds_runs_twice_all_others_every_turn():
    runs = {"slow": 0, "fast": 0}

    def work(name):
        def job():
            runs[name] += 1

        return timing.Work(name, "", lambda: job)

    taken = timing.in_turns([work("slow"), work("fast")], repeats=5, seconds=-1.0)
    assert runs == {"slow": 2, "fast": 2}
    taken = timing.in_turns([work("slow"), work("fast")], repeats=5, seconds=60.0)
    assert {name: len(seconds) for name, seconds in taken.items()} == {"slow": 5, "fast": 5}


def test_every_turn_starts_with_another_subject():
    order = []
    works = [timing.Work(name, "", lambda name=name: lambda: order.append(name)) for name in "abc"]
    timing.in_turns(works, repeats=3, seconds=60.0)
    assert "".join(order) == "abcbcacab"


@pytest.mark.skipif(timing.peak_memory(lambda: None) is None, reason="this system does not tell peak memory")
def test_peak_memory_is_what_the_job_held_at_its_worst():
    found = timing.peak_memory(lambda: np.ones(8_000_000).sum())
    assert 60e6 <= found < 80e6  # the kernel counts pages in batches
    assert timing.peak_memory(lambda: None) < 4e6


def test_without_torch_and_byzfl_the_rest_is_timed_and_it_says_so(monkeypatch):
    for name in ("torch", "byzfl"):
        monkeypatch.setitem(sys.modules, name, None)
    found = speed.measured(clients=(5,), values=(20_000,), repeats=1, only=lambda name: "median" in name)
    assert found["sizes"][0]["left_out"] == {"torch": "not installed", "ByzFL": "not installed"}
    assert not any(name.startswith("torch") for name in found["sizes"][0]["work"])


def test_a_peer_that_fails_is_left_out_with_the_reason(monkeypatch):
    def broken(rows, f):
        yield timing.Work("Odd: broken", "Odd", lambda: lambda: 1 / 0)

    monkeypatch.setitem(peers.PEERS, "Odd", broken)
    found = speed.measured(clients=(5,), values=(20_000,), repeats=1, only=lambda name: name in {"Odd: broken", "krum"})
    assert found["sizes"][0]["left_out"]["Odd: broken"] == "ZeroDivisionError: division by zero"
    assert "krum" in found["sizes"][0]["work"]


def test_the_stretch_of_a_slow_subject_is_told_before_it_runs_in_full(monkeypatch):
    monkeypatch.setattr(speed, "LONGEST", 0.0)
    found = speed.measured(clients=(5,), values=(20_000,), repeats=1, only=lambda name: name == "NumPy: np.median")
    assert "a run would take about" in found["sizes"][0]["left_out"]["NumPy: np.median"]


def test_rounds_tell_time_and_memory_of_every_strategy(timed_rounds):
    (size,) = timed_rounds["sizes"]
    ours = {name for name, work in size["work"].items() if work["ours"]}
    assert ours >= {"Hawthorn: median", "Hawthorn: krum", "Hawthorn: arc | nnm | trimmed_mean"}
    assert rounds.STOCK.keys() <= size["work"].keys()
    for name in size["work"].keys() - {"read once"}:
        work = size["work"][name]
        assert 0 < work["last_reply"] <= work["median"] * 10
        assert 0 < work["last_reply_share"] <= 1
        assert {"memory", "streamed", "of_fedavg"} <= work.keys()
    assert size["work"]["FedAvg"]["of_fedavg"] == 1.0


@pytest.mark.slow
def test_strategies_get_the_same_replies_however_often_they_empty_them():
    clients = rounds.Fleet(7, 2000).clients()
    stock = {name: make(7, 1) for name, make in rounds.STOCK.items()}
    first = {name: rounds.aggregated(strategy, clients.replies(strategy)) for name, strategy in stock.items()}
    again = {name: rounds.aggregated(strategy, clients.replies(strategy)) for name, strategy in stock.items()}
    for name in stock:
        for key in first[name]:  # Flower asks in an order of its own, in which it adds them up
            np.testing.assert_allclose(first[name][key].numpy(), again[name][key].numpy(), rtol=1e-4, atol=1e-6)


def test_the_history_gains_a_line_and_is_compared_with_its_last_one(hawthorn):
    assert hawthorn(*FEW, "--history", "runs.jsonl").status == 0
    ended = hawthorn(*FEW, "--history", "runs.jsonl", "--compare", "runs.jsonl")
    assert ended.status in {0, 1}  # at this size, noise alone may look like a slow-down
    assert "new over old" in ended.out
    lines = [json.loads(line) for line in Path("runs.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    assert {"date", "version", "commit", "machine", "sizes"} <= lines[0].keys()
    assert lines[0]["machine"]["cores"] == cores()


def doctored(text, factor):
    document = json.loads(text)
    for size in document["sizes"]:
        for work in size["work"].values():
            work["reads"] *= factor
    return json.dumps(document)


@pytest.mark.parametrize(("factor", "status", "word"), [(1e-4, 1, "slower"), (1e4, 0, "faster")])
def test_a_slow_down_shows_and_ends_with_status_1(hawthorn, factor, status, word):
    first = hawthorn(*FEW, "--json", "-")
    Path("old.json").write_text(doctored(first.out, factor))
    ended = hawthorn(*FEW, "--compare", "old.json", "--json", "-")
    assert ended.status == status
    assert word in ended.err
    assert json.loads(ended.out)["subject"] == "speed"  # what is compared goes elsewhere


def test_noise_of_both_runs_is_no_slow_down():
    def run(reads, noise):
        work = {"krum": {"ours": True, "reads": reads, "noise": noise}}
        return {"sizes": [{"n": 5, "d": 10, "work": work}]}

    def slower(*two):
        return history.changes(*two)[0].slower

    assert slower(run(1.2, 0.01), run(1.0, 0.01))
    assert not slower(run(1.2, 0.05), run(1.0, 0.05))  # three times hypot(0.05, 0.05) is 0.21
    assert not slower(run(1.09, 0.0), run(1.0, 0.0))
    with pytest.raises(SettingError, match="no size and subject in common"):
        history.changes(run(1.0, 0.0), {"sizes": []})


class Loads(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [(tag, name) for name, _ in attrs if name in {"src", "href", "srcset", "data", "action"}]


def test_the_page_is_one_file_with_every_plot_and_the_history(hawthorn):
    assert hawthorn(*ROUNDS, "--only", "krum", "--history", "runs.jsonl").status == 0
    assert hawthorn(*ROUNDS, "--only", "krum", "--history", "runs.jsonl", "--html", "page.html").status == 0
    text = Path("page.html").read_text()
    assert Loads(text).found == []
    start = text.index('id="plots">') + len('id="plots">')
    plots = json.loads(text[start : text.index("</script>", start)])
    assert {"Hawthorn-reads", "Flower-memory", "history-n=5, d=4,000"} <= plots.keys()
    assert all(f'data-plot="{name}"' in text for name in plots)
    lines = plots["history-n=5, d=4,000"]["data"]
    assert {line["name"] for line in lines} == {"Hawthorn: krum", "Hawthorn: multi_krum"}
    assert all(len(line["x"]) == 2 for line in lines)


def test_the_tables_fit_a_page(hawthorn, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    for command in (SPEED, ROUNDS):
        ended = hawthorn(*command)
        assert ended.status == 0
        assert "geometric_median" in ended.out
        assert max(map(len, ended.out.splitlines())) <= 100
        assert "…" not in ended.out


@pytest.mark.slow
def test_a_cold_start_compiles_and_a_warm_one_does_not(hawthorn):
    ended = hawthorn("benchmark", "start", "--clients", "5", "--repeats", "1", "--json", "-")
    work = ended.document["sizes"][0]["work"]
    assert work["cold, first use of all"]["best"] > work["warm, first use of all"]["best"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("speed", "--clients", "ten"), "--clients as whole numbers"),
        (("speed", "--values", "2"), "--values as whole numbers"),
        (("speed", "--only", "("), "--only as a regular expression"),
        (("speed", "--only", "kruum", "--clients", "5", "--values", "20000"), "--only finds none of"),
        (("speed", "--device", "abacus"), "device must be cpu"),
        (("rounds", "--device", "cpu"), "benchmark rounds has no --device"),
        (("rounds", "--clients", "5", "--values", "100"), "rounds need 1000 values for each client"),
        (("replies", "--compare", "x.json"), "benchmark replies has no --compare"),
        (("speed", "--compare", "absent.json"), "cannot read absent.json"),
        (("speed", "--json", "absent/x.json"), "--json must be a file in a folder that exists"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is(hawthorn, arguments, words):
    ended = hawthorn("benchmark", *arguments)
    assert ended.status == 2
    assert words in ended.err


def test_a_history_cut_off_by_a_killed_process_loses_that_line_only(tmp_path):
    file = tmp_path / "history.jsonl"
    one = {"subject": "speed", "sizes": []}
    history.append(file, one)
    file.write_text(file.read_text() + '{"subject": "sp')
    history.append(file, one)
    assert history.runs(file, "speed") == [one, one]
