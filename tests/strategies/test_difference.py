"""What admission does to a reply's numbers: the same bits as NumPy's subtraction, and every bad number is seen."""

import numpy as np
import pytest
from hawthorn.strategies.kernels.difference import difference, finite
from numpy.testing import assert_array_equal

DTYPES = ("float16", "float32", "float64", ">f4")


def unaligned(numbers):
    """The same numbers at an odd address, as a forged header can put them."""
    data = b"x" + numbers.tobytes()
    return np.frombuffer(data, numbers.dtype, numbers.size, 1).reshape(numbers.shape)


@pytest.mark.parametrize("out_dtype", ["float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "change",
    [np.asarray, lambda numbers: np.array(numbers, order="F"), unaligned],
    ids=["plain", "fortran", "unaligned"],
)
@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (33, 65)], ids=str)
def test_the_difference_is_numpys(shape, change, dtype, out_dtype):
    rng = np.random.default_rng(60)
    values, base = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(out_dtype)
    values = change(values)
    values.flags.writeable = False
    out = np.full(shape, 9, out_dtype)
    assert difference(values, base, out) is True
    assert_array_equal(out, values.astype(out_dtype) - base, strict=True)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 31, 32, 63, 100])
def test_every_number_that_is_not_finite_is_seen(place, bad, dtype):
    values, base = np.zeros(101, dtype), np.ones(101, np.float32 if dtype == "float16" else dtype)
    assert finite(values)
    values[place] = bad
    assert not difference(values, base, np.empty_like(base))
    assert not finite(values)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_difference_that_does_not_fit_is_seen(dtype):
    most = np.finfo(dtype).max
    values, base = np.array([0, most], dtype), np.array([0, -most], dtype)
    assert finite(values)
    assert not difference(values, base, np.empty(2, dtype))
    assert difference(values, -base, np.empty(2, dtype))


def test_numbers_too_large_for_the_row_are_seen():
    assert not difference(np.array([1e300]), np.zeros(1, np.float32), np.empty(1, np.float32))
