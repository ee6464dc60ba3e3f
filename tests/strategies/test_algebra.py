"""BLAS threads are set back whatever happens meanwhile."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hawthorn.strategies import UpdateError, krum
from hawthorn.strategies.algebra import one_thread
from threadpoolctl import ThreadpoolController, threadpool_limits


def used():
    np.eye(3) @ np.eye(3)
    return [library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()]


def test_libraries_use_one_thread_inside_and_as_many_as_before_after():
    with threadpool_limits(2, user_api="blas"):
        before = used()
        assert before
        assert set(before) == {2}
        with one_thread:
            assert 1 in used()
            with one_thread:
                assert 1 in used()
            assert 1 in used()
        assert used() == before


def test_callers_at_once_leave_the_libraries_as_they_were():
    rows = np.random.default_rng(80).normal(size=(60, 90))

    def judge(seed):
        if seed % 5:
            return krum(rows + seed, f=9)
        with pytest.raises(UpdateError):
            krum(np.full((9, 4), np.nan), f=2)
        return None

    with threadpool_limits(2, user_api="blas"), ThreadPoolExecutor(8) as callers:
        before = used()
        list(callers.map(judge, range(60)))
        assert used() == before
