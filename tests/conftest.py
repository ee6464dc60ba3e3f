"""What holds for every test: the same random numbers in every run, and no more threads than there are to spare."""

import gc
import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch and BLAS are loaded: workers of pytest-xdist share the cores

from hypothesis import HealthCheck, settings

settings.register_profile(
    "hawthorn",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("hawthorn")


def pytest_collection_finish():
    """Thousands of tests are objects that stay: Python's collector need not walk them again and again."""
    gc.collect()
    gc.freeze()
