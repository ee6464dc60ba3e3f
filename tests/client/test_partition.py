import numpy as np
import pytest
from hawthorn.client.tasks import partition
from hawthorn.client.tasks.partition import LEAST
from hawthorn.strategies import SettingError
from hypothesis import given
from hypothesis import strategies as st

SPECS = ["iid", "dirichlet(0.5)", "dirichlet(alpha=100)", "dirichlet(0.001)", "dirichlet(1e-300)", "sorted"]


@given(
    spec=st.sampled_from(SPECS),
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


@given(
    spec=st.sampled_from([*SPECS, "natural"]),
    groups=st.lists(st.integers(-3, 9), min_size=1, max_size=200),
    clients=st.integers(1, 12),
    seed=st.integers(0, 2**31),
)
def test_no_group_is_split_over_clients(spec: str, groups: list[int], clients: int, seed: int) -> None:
    of = np.array(groups)
    clients = min(clients, len(set(groups)))
    labels = np.random.default_rng(seed).integers(0, 3, len(of))
    parts = partition(spec, labels, clients, seed, of)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(of)))
    assert len(parts) == clients
    assert all(len(part) for part in parts)
    assert sum(len(set(of[part].tolist())) for part in parts) == len(set(groups))


@pytest.mark.parametrize("spec", ["iid", "dirichlet(0.5)", "sorted", "natural"])
def test_the_same_seed_gives_the_same_parts_and_another_seed_others(spec: str) -> None:
    labels = np.arange(200) % 5
    groups = np.arange(200) // 4
    first, again, other = (partition(spec, labels, 7, seed, groups) for seed in (1, 1, 2))
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


def test_sorted_parts_are_equal_stretches_of_the_sorted_labels() -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 20))
    parts = partition("sorted", labels, 25, seed=1)
    assert {len(part) for part in parts} == {8}
    assert np.array_equal(np.concatenate([np.sort(labels[part]) for part in parts]), np.sort(labels))
    assert not all(np.array_equal(part, np.sort(part)) for part in parts)  # a client's own order is random


def test_sorted_among_the_honest_the_hostile_take_nothing_from_them() -> None:
    labels = np.random.default_rng(3).permutation(np.repeat(np.arange(5), 20))
    parts = partition("sorted_honest", labels, 7, seed=1, hostile={2, 6})
    honest = [part for client, part in enumerate(parts) if client not in {2, 6}]
    assert [set(labels[part].tolist()) for part in honest] == [{0}, {1}, {2}, {3}, {4}]
    assert sorted(np.concatenate(honest).tolist()) == list(range(100))
    for client in (2, 6):
        assert len(set(parts[client].tolist())) == 20
        assert len(set(labels[parts[client]].tolist())) > 3
    with pytest.raises(SettingError, match="write 'sorted'"):
        partition("sorted_honest", labels, 7, seed=1, groups=labels)


def test_groups_are_sorted_by_the_label_that_most_of_them_have() -> None:
    groups = np.repeat([0, 1, 2, 3], 3)
    labels = np.array([2, 2, 0, 0, 0, 2, 1, 1, 1, 0, 2, 0])
    parts = partition("sorted", labels, 3, seed=1, groups=groups)
    assert [sorted(set(groups[part].tolist())) for part in parts] == [[1, 3], [2], [0]]


def test_naturally_a_group_is_a_client_in_the_groups_order() -> None:
    groups = np.array([30, 10, 20, 10, 30, 30])
    parts = partition("natural", np.zeros(6), 3, seed=1, groups=groups)
    assert [sorted(part.tolist()) for part in parts] == [[1, 3], [2], [0, 4, 5]]


def test_more_groups_than_clients_are_dealt_out_evenly() -> None:
    groups = np.repeat(np.arange(40), np.tile([1, 2, 3, 10], 10))
    sizes = [len(part) for part in partition("natural", np.zeros(160), 8, seed=1, groups=groups)]
    assert max(sizes) - min(sizes) <= 3


def test_a_task_without_groups_has_no_natural_partition() -> None:
    with pytest.raises(SettingError, match="needs a task with groups: write 'iid'"):
        partition("natural", np.zeros(10), 2, seed=1)


@pytest.mark.parametrize("spec", ["natural", "iid"])
def test_more_clients_than_groups_are_refused_with_the_number_to_write(spec: str) -> None:
    with pytest.raises(SettingError, match=r"from 1 to 4, the groups .* got 10, write clients=4"):
        partition(spec, np.zeros(40), 10, seed=1, groups=np.arange(40) % 4)


@pytest.mark.parametrize(
    "spec",
    ["", "dirichlet", "dirichlet()", "dirichlet(0)", "dirichlet(-1)", "dirichlet(x)", "dirichlet(1.2.3)", "shards"],
)
def test_another_spec_is_refused_with_what_to_write(spec: str) -> None:
    with pytest.raises(
        SettingError, match=r"partition must be 'iid' or 'dirichlet\(0.5\)' .* 'sorted_honest', or 'natural'"
    ):
        partition(spec, np.zeros(10), 2, seed=1)


@pytest.mark.parametrize("clients", [0, -1, 11])
def test_more_clients_than_examples_or_none_are_refused(clients: int) -> None:
    with pytest.raises(SettingError, match="from 1 to 10"):
        partition("iid", np.zeros(10), clients, seed=1)
