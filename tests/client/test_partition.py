import numpy as np
import pytest
from hawthorn.client.tasks import partition
from hawthorn.client.tasks.partition import LEAST
from hawthorn.strategies import SettingError
from hypothesis import given
from hypothesis import strategies as st

specs = st.sampled_from(["iid", "dirichlet(0.5)", "dirichlet(alpha=100)", "dirichlet(0.001)", "dirichlet(1e-300)"])


@given(
    spec=specs,
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=300),
    clients=st.integers(1, 40),
    seed=st.integers(0, 2**31),
)
def test_every_example_goes_to_one_client_and_every_client_gets_a_few(
    spec: str, labels: list[int], clients: int, seed: int
) -> None:
    clients = min(clients, len(labels))
    parts = partition(spec, np.array(labels), clients, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert len(parts) == clients
    assert min(map(len, parts)) >= min(LEAST, len(labels) // clients)


@pytest.mark.parametrize("spec", ["iid", "dirichlet(0.5)"])
def test_the_same_seed_gives_the_same_parts_and_another_seed_others(spec: str) -> None:
    labels = np.arange(200) % 5
    first, again, other = (partition(spec, labels, 7, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def skew(spec: str) -> float:
    """The mean share of a client's largest class, of ten."""
    labels = np.arange(5000) % 10
    parts = partition(spec, labels, 10, seed=3)
    return float(np.mean([np.bincount(labels[part]).max() / len(part) for part in parts]))


def test_a_smaller_alpha_skews_the_labels_more() -> None:
    assert skew("dirichlet(0.1)") > skew("dirichlet(1)") + 0.1 > skew("dirichlet(1000)") + 0.2
    assert skew("dirichlet(1000)") < 0.15
    assert skew("iid") < 0.15


def test_iid_parts_are_of_one_size() -> None:
    assert {len(part) for part in partition("iid", np.zeros(103), 10, seed=1)} == {10, 11}


@pytest.mark.parametrize(
    "spec",
    ["", "dirichlet", "dirichlet()", "dirichlet(0)", "dirichlet(-1)", "dirichlet(x)", "dirichlet(1.2.3)", "shards"],
)
def test_another_spec_is_refused_with_what_to_write(spec: str) -> None:
    with pytest.raises(SettingError, match=r"partition must be 'iid' or 'dirichlet\(0.5\)'"):
        partition(spec, np.zeros(10), 2, seed=1)


@pytest.mark.parametrize("clients", [0, -1, 11])
def test_more_clients_than_examples_or_none_are_refused(clients: int) -> None:
    with pytest.raises(SettingError, match="from 1 to 10"):
        partition("iid", np.zeros(10), clients, seed=1)
