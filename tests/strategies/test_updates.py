"""Updates as they arrive: what grows row by row is what a matrix gives, bit for bit, in memory and in a file."""

import sys

import numpy as np
import pytest
from hawthorn.strategies import Defense, Geometry, SettingError, UpdateError, Updates, krum, median
from hawthorn.strategies.updates import GROUP, SPOOLED_GROUP, byte_count
from hypothesis import given
from hypothesis import strategies as st
from matrices import CASES, matrix, tolerable
from numpy.testing import assert_array_equal

SEEDS = st.integers(0, 2**32 - 1)
IN_MEMORY, IN_A_FILE = None, 0


def arrived(rows, memory=IN_MEMORY, capacity=None, updates=None):
    """The rows in their order, arrived one by one; between them, refused ones were written and not kept."""
    updates = updates or Updates(capacity or len(rows), rows.shape[1], rows.dtype, memory=memory)
    updates.clear()
    for row in rows:
        updates.next[:] = np.nan
        updates.next[:] = row
        updates.keep()
    return updates


def assert_same_outcome(one, other):
    assert_array_equal(one.update, other.update, strict=True)
    assert one.verdicts == other.verdicts
    assert one.skipped == other.skipped
    for name in ("squared_distances", "gram", "scale", "rank"):
        assert_array_equal(getattr(one.geometry, name), getattr(other.geometry, name), strict=True)


@pytest.mark.parametrize("memory", [IN_MEMORY, IN_A_FILE], ids=["in memory", "in a file"])
@pytest.mark.parametrize("case", CASES, ids="-".join)
@pytest.mark.parametrize("n", [1, GROUP, GROUP + 3, SPOOLED_GROUP + 1])
def test_the_outcome_is_that_of_the_matrix(case, n, memory):
    rows = matrix(case[0], 50, n, dtype=case[1])
    for recipe in ("geometric_median", "arc | nnm | trimmed_mean"):
        defense = Defense.parse(recipe, f=tolerable(n))
        assert_same_outcome(defense(arrived(rows, memory, capacity=n + 2)), defense(rows))


@given(case=st.sampled_from(CASES), n=st.integers(1, 20), d=st.integers(1, 40), seed=SEEDS)
def test_the_order_of_arrival_changes_no_bit(case, n, d, seed):
    rows = matrix(case[0], seed, n, d, case[1])
    chosen = np.random.default_rng(seed).permutation(n)
    one, other = Geometry.of(rows), Geometry.of(arrived(rows[chosen]))
    both = np.ix_(chosen, chosen)
    assert_array_equal(other.squared_distances, one.squared_distances[both])
    assert_array_equal(other.gram, one.gram[both])
    assert_array_equal(other.norms, one.norms[chosen])


@pytest.mark.parametrize("memory", [IN_MEMORY, IN_A_FILE], ids=["in memory", "in a file"])
def test_rows_of_many_chunks_grow_into_the_same_geometry(memory, monkeypatch):
    from hawthorn.strategies.kernels import stream

    monkeypatch.setattr(stream, "RESIDENT", 1 << 16)  # pages are let go while rows are written and read
    rows = matrix("offset", 51, 11, 300_001, "float32")
    defense = Defense("geometric_median", f=2)
    assert_same_outcome(defense(arrived(rows, memory)), defense(rows))


def test_a_row_that_is_not_finite_is_named():
    rows = matrix("plain", 52, 11)
    rows[[2, 9], 3] = np.nan, np.inf
    with pytest.raises(UpdateError, match="rows 2, 9 hold NaN or infinity"):
        Geometry.of(arrived(rows))


def test_rules_take_updates_too():
    rows = matrix("plain", 53, 11, dtype="float32")
    assert_array_equal(krum(arrived(rows), f=2), krum(rows, f=2), strict=True)
    assert_array_equal(median(arrived(rows), f=2), median(rows, f=2), strict=True)


def test_rows_can_be_asked_for_while_more_arrive():
    rows = matrix("plain", 54, 11)
    updates = Updates(11, rows.shape[1], rows.dtype)
    for count, row in enumerate(rows, 1):
        updates.next[:] = row
        updates.keep()
        assert_array_equal(updates.rows, rows[:count])
        assert_array_equal(Geometry.of(updates).squared_distances, Geometry.of(rows[:count]).squared_distances)


def test_the_next_round_is_written_over_the_last():
    first, second = matrix("plain", 55, 11), matrix("huge", 56, 9)
    updates = arrived(first)
    told = Geometry.of(updates).squared_distances
    kept = told.copy()
    place = updates.rows.__array_interface__["data"]
    assert_same_outcome(Defense(f=1)(arrived(second, updates=updates)), Defense(f=1)(second))
    assert updates.rows.__array_interface__["data"] == place
    assert_array_equal(told, kept)  # what was told of the first round stays


def test_what_was_measured_is_not_measured_again(monkeypatch):
    from hawthorn.strategies import kernels

    defense, grown = Defense(f=2), []
    grow, gram = kernels.grow, kernels.gram
    monkeypatch.setattr(kernels, "grow", lambda data, *span: grown.append(span) or grow(data, *span))
    # without what has grown, gram would fail here
    monkeypatch.setattr(kernels, "gram", lambda data, order, scale, found: gram(data, order, scale, found))
    updates = arrived(matrix("plain", 57, 2 * GROUP + 3))
    defense(updates)
    defense(updates)
    last = 2 * GROUP + 3 - GROUP // 2
    assert grown == [(0, GROUP), (GROUP, last), (last, 2 * GROUP + 3)]


def test_there_is_room_for_as_many_as_were_expected():
    updates = arrived(matrix("plain", 58, 3))
    assert repr(updates) == "<3 of 3 updates>"
    with pytest.raises(UpdateError, match="room for 3 updates"):
        _ = updates.next
    with pytest.raises(UpdateError, match="at least one row"):
        Defense()(Updates(3, 5))


@pytest.mark.parametrize(
    ("memory", "mapped"), [(None, False), (440, False), (439, True), ("440 B", False), ("0", True)]
)
def test_what_fits_the_budget_is_in_memory(memory, mapped):
    assert isinstance(Updates(11, 10, memory=memory).next, np.memmap) == mapped


@pytest.mark.parametrize(
    ("written", "bytes"),
    [(7, 7), ("7", 7), ("1 GB", 10**9), ("1.5gb", 1_500_000_000), (" 2 KiB ", 2048), ("3TB", 3 * 10**12)],
)
def test_sizes_are_read(written, bytes):
    assert byte_count(written) == bytes


@pytest.mark.parametrize("written", ["", "much", "1 GX", "-1 GB", -1, "1 2", True, "1e9", 1.5e-7, None])
def test_a_wrong_size_says_what_to_write(written):
    with pytest.raises(SettingError, match="such as '1 GB' or '512 MiB'"):
        byte_count(written)


def test_a_full_disk_says_how_much_is_needed(tmp_path):
    with pytest.raises(SettingError) as told:
        Updates(10**6, 10**9, memory="1 GB", spool=str(tmp_path))
    assert "GB free, and 4000000.0 GB are needed" in str(told.value)
    assert "or a memory of at least '4000000000 MB'" in str(told.value)
    assert str(tmp_path) in str(told.value)


def test_a_spool_that_does_not_exist_is_an_error_at_once(tmp_path):
    with pytest.raises(SettingError, match="spool must be a directory"):
        Updates(3, 5, memory=0, spool=str(tmp_path / "missing"))


@pytest.mark.parametrize("shards", [0, -1, True, 2.0, "2"])
def test_shards_are_a_number_of_workers(shards):
    with pytest.raises(SettingError, match=f"such as 2, got {shards!r}"):
        Updates(3, 5, shards=shards)


@pytest.mark.parametrize("place", [{"memory": "1 GB"}, {"spool": "/var/tmp"}], ids=["memory", "spool"])
def test_rows_lie_in_one_place(place):
    with pytest.raises(SettingError, match="write either shards, or memory and spool"):
        Updates(3, 5, shards=2, **place)


def test_shards_without_ray_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "hawthorn.strategies.kernels.shards", raising=False)
    with pytest.raises(SettingError, match=r"pip install 'hawthorn\[ray\]'"):
        Updates(3, 5, shards=2)
