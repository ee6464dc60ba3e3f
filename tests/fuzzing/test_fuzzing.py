"""The fuzzer's targets under inputs of chance, the same in every run, and under all that ever broke them."""

import logging

import fuzz
import pytest

INPUTS = {"replies": 1000, "services": 200, "manifests": 2000}


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.filterwarnings("default")  # hostile numbers make NumPy and Python warn, which is no fault
@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_nothing_is_raised_and_every_promise_holds(name):
    target = fuzz.target_of(name)
    for number, data in enumerate(fuzz.inputs(f"smoke {name}", INPUTS[name])):
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"input {number}, {data.hex()}, breaks a promise") from error


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", sorted(fuzz.FOUND.glob("*-*")), ids=lambda path: path.name)
def test_what_was_found_once_is_not_found_again(path):
    fuzz.target_of(path.name.partition("-")[0])(path.read_bytes())
