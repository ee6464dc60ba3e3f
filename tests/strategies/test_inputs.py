"""What goes in and comes out: kinds, dtypes, layouts, bad input and f, for every registered rule and transform."""

import numpy as np
import pytest
import torch
from hawthorn.strategies import (
    Geometry,
    HawthornError,
    SettingError,
    ToleranceError,
    UpdateError,
    clip,
    krum,
    multi_krum,
)
from hawthorn.strategies.contract import hostile_count
from hypothesis import given, settings
from hypothesis import strategies as st
from matrices import matrix
from numpy.testing import assert_allclose, assert_array_equal
from parts import RULES, SCORES, TRANSFORMS, apply, every, least_rows, options

F = 2
NUMPY = ["float16", "float32", "float64"]
TORCH = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
ROWS = matrix("plain", 20, 11, 31)  # as few as every rule takes with f = 2


def halves(rows):
    """Rows of few binary digits, so that every dtype holds them and their short sums."""
    return np.round(rows * 8) / 8


@every(RULES, TRANSFORMS)
@pytest.mark.parametrize("dtype", NUMPY)
def test_arrays_give_an_array_of_their_dtype(part, dtype):
    rows = halves(ROWS)
    found = apply(part, rows.astype(dtype), F)
    assert type(found) is np.ndarray
    assert found.dtype == np.dtype(dtype)
    assert found.shape[-1:] == rows.shape[1:]
    assert_allclose(found, apply(part, rows, F), rtol=2 * np.finfo(dtype).eps, atol=2 * np.finfo(dtype).eps)


@every(RULES, TRANSFORMS)
@pytest.mark.parametrize("dtype", TORCH, ids=str)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_tensors_give_a_tensor_of_their_dtype_and_device(part, dtype, requires_grad):
    rows = halves(ROWS)
    found = apply(part, torch.tensor(rows, dtype=dtype, requires_grad=requires_grad), F)
    assert type(found) is torch.Tensor
    assert (found.dtype, found.device, found.requires_grad) == (dtype, torch.device("cpu"), False)
    eps = torch.finfo(dtype).eps
    assert_allclose(found.double().numpy(), apply(part, rows, F), rtol=2 * eps, atol=2 * eps)


@every(RULES, TRANSFORMS)
def test_sequences_of_vectors_give_what_the_matrix_gives(part):
    expected = apply(part, ROWS, F)
    for sequence in (list(ROWS), tuple(ROWS), ROWS.tolist()):
        assert_array_equal(apply(part, sequence, F), expected, strict=True)
    tensors = [torch.tensor(row, requires_grad=True) for row in ROWS]
    found = apply(part, tensors, F)
    assert type(found) is torch.Tensor
    assert_array_equal(found.numpy(), expected, strict=True)


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided columns": lambda rows: np.repeat(rows, 3, axis=1)[:, ::3],
    "strided rows": lambda rows: np.repeat(rows, 2, axis=0)[::2],
    "backwards": lambda rows: rows[::-1, ::-1].copy()[::-1, ::-1],
    "part of a larger one": lambda rows: np.pad(rows, 5, constant_values=np.nan)[5:-5, 5:-5],
    "unaligned": lambda rows: np.frombuffer(b"x" + rows.tobytes(), np.uint8)[1:].view(rows.dtype).reshape(rows.shape),
    "read-only": lambda rows: _read_only(rows),
}


def _read_only(rows):
    rows = rows.copy()
    rows.flags.writeable = False
    return rows


@every(RULES, TRANSFORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_layout_in_memory_does_not_matter(part, layout, dtype):
    rows = ROWS.astype(dtype)
    laid_out = LAYOUTS[layout](rows)
    assert_allclose(apply(part, laid_out, F), apply(part, rows, F), rtol=4 * np.finfo(dtype).eps, atol=1e-15)
    assert_array_equal(laid_out, rows)


@every(RULES, TRANSFORMS)
@pytest.mark.parametrize("dtype", NUMPY)
def test_the_input_is_not_modified_nor_handed_back(part, dtype):
    rows = ROWS.astype(dtype)
    before = rows.copy()
    found = apply(part, rows, F)
    assert_array_equal(rows, before)
    assert not np.shares_memory(found, rows)
    assert found.flags.writeable
    tensor = torch.tensor(before)
    apply(part, tensor, F)
    assert_array_equal(tensor.numpy(), before)


@every(RULES, TRANSFORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "bfloat16", "list"])
@settings(max_examples=3)  # of each kind
@given(seed=st.integers(0, 2**32 - 1), d=st.sampled_from([1, 2, 7, 16, 33, 200]))
def test_rows_that_are_not_finite_are_named(part, bad, kind, seed, d):
    rng = np.random.default_rng(seed)
    rows = matrix("plain", seed, 11, d)
    wrong = sorted(rng.choice(11, size=rng.integers(1, 4), replace=False).tolist())
    for row in wrong:
        rows[row, rng.integers(d)] = bad
    updates = {"bfloat16": lambda: torch.tensor(rows, dtype=torch.bfloat16), "list": lambda: list(rows)}.get(
        kind, lambda: rows.astype(kind)
    )()
    with pytest.raises(UpdateError, match=f"rows {', '.join(map(str, wrong))} hold NaN or infinity"):
        apply(part, updates, F)
    with pytest.raises(UpdateError, match=f"rows {', '.join(map(str, wrong))} "):
        Geometry.of(updates)


@every(RULES, TRANSFORMS)
@pytest.mark.parametrize("size", [(7, 1), (8, 1), (7, 2), (11, 65), (7, 4097), (70, 3)], ids=str)
def test_odd_sizes(part, size):
    rows = matrix("plain", 21, *size)
    found = apply(part, rows, 1)
    assert found.shape[-1] == size[1]
    assert np.isfinite(found).all()


@every(RULES, TRANSFORMS)
def test_rows_of_no_length_give_an_update_of_no_length(part):
    for rows in (np.zeros((7, 0)), np.zeros((7, 0), np.float16), torch.zeros(7, 0), torch.zeros(7, 0).bfloat16()):
        assert tuple(apply(part, rows, 1).shape)[-1:] == (0,)


@every(RULES, TRANSFORMS)
def test_the_fewest_rows_are_enough_and_one_less_is_not(part):
    for f in (0, 1, 2, 5):
        n = least_rows(part, f)
        assert np.isfinite(apply(part, matrix("plain", 22, n, 5), f)).all()
        if n > 1:
            with pytest.raises(ToleranceError) as raised:
                apply(part, matrix("plain", 22, n - 1, 5), f)
            assert part.name in str(raised.value)
            assert f"f={f}" in str(raised.value)
            assert str(n - 1) in str(raised.value)


@every({name: rule for name, rule in RULES.items() if "krum" not in name and "agreement" not in rule.exempt})
def test_one_row_is_its_own_center(part):
    if part.least(0) == 1:
        assert_array_equal(apply(part, ROWS[:1], 0), ROWS[0])


@every(RULES, TRANSFORMS)
def test_f_beyond_the_limit_names_the_limit(part):
    n = 12
    limit = max(f for f in range(n) if n >= part.least(f))
    if limit == n - 1:  # it tolerates anything
        apply(part, ROWS, 8)
        return
    with pytest.raises(ToleranceError, match=f"{part.name} .*at most {limit} .*{n}.*f={limit + 1}"):
        apply(part, matrix("plain", 23, n, 5), limit + 1)
    assert issubclass(ToleranceError, HawthornError)


@pytest.mark.parametrize(
    ("rule", "least"),
    [("krum", lambda f: 2 * f + 3), ("multi_krum", lambda f: 2 * f + 3)]
    + [(name, lambda f: 2 * f + 1) for name in ("mean", "median", "trimmed_mean", "geometric_median", "arc", "nnm")]
    + [("clip", lambda f: 1)],
)
def test_limits_are_the_published_ones(rule, least):
    part = RULES[rule] if rule in RULES else TRANSFORMS[rule]
    assert [least_rows(part, f) for f in range(6)] == [least(f) for f in range(6)]


@every(RULES, TRANSFORMS)
@pytest.mark.parametrize(
    "f", [True, False, -1, -0.1, 0.5, 1.0, 2.0, "x", "2", float("nan"), float("inf"), [1]], ids=repr
)
def test_a_wrong_f_says_what_to_write(part, f):
    with pytest.raises(SettingError, match=r"count .* share"):
        apply(part, ROWS, f)


@every(RULES, TRANSFORMS)
def test_f_is_a_count_or_a_share(part):
    expected = apply(part, ROWS, 2)
    for f in (0.15, np.int64(2), np.float64(0.15), np.float32(0.15)):  # of 11 that is 1.65, rounded up
        assert_array_equal(apply(part, ROWS, f), expected)


@pytest.mark.parametrize(
    ("share", "n", "count"),
    [
        (0.28, 25, 7),
        (0.2, 10, 2),
        (0.2, 11, 3),
        (0.1, 30, 3),
        (0.3, 10, 3),
        (0.0, 5, 0),
        (0.49, 100, 49),
        (0.07, 100, 7),
    ],
)
def test_a_share_is_rounded_up_after_removing_float_noise(share, n, count):
    assert hostile_count(share, n) == count


@every(RULES, TRANSFORMS, SCORES)
def test_unknown_options_raise_with_the_nearest_name(part):
    call = (lambda **given: part(ROWS, f=F, **given)) if part.name not in SCORES else _scored(part)
    known = list(options(part)) or ["m" for _ in [part] if part.name == "multi_krum"]
    for wrong in ("foo", "rng", "history", "geometry", "n"):
        if part.name in SCORES and wrong in {"history", "geometry"}:
            continue  # arguments of a score
        with pytest.raises(SettingError) as raised:
            call(**{wrong: 1}, **options(part))
        assert isinstance(raised.value, TypeError)
        assert part.name in str(raised.value)
    for option in known:
        with pytest.raises(SettingError, match=option):
            call(**{option + "x": 1})


def _scored(part):
    return lambda **given: part(Geometry.of(ROWS), f=F, **given)


def test_options_without_a_default_are_asked_for():
    with pytest.raises(SettingError, match=r"clip needs radius: write clip\(radius=...\)"):
        clip(ROWS)
    with pytest.raises(TypeError, match="krum needs f"):
        krum(ROWS)


@pytest.mark.parametrize("radius", [0.0, -1.0, float("nan"), float("inf"), "1", None, True])
def test_a_wrong_radius_is_refused(radius):
    with pytest.raises(SettingError, match="positive finite radius"):
        clip(ROWS, radius=radius)


@pytest.mark.parametrize("m", ["x", 2.5, True, 0, -1, [1]], ids=repr)
def test_a_wrong_number_of_rows_to_average_is_refused(m):
    with pytest.raises(SettingError, match="m"):
        multi_krum(ROWS, f=F, m=m)


def test_more_rows_to_average_than_honest_ones_are_refused():
    assert np.isfinite(multi_krum(ROWS, f=F, m=9)).all()
    with pytest.raises(ToleranceError, match="n - f = 9 rows"):
        multi_krum(ROWS, f=F, m=10)


@pytest.mark.parametrize(
    ("updates", "says"),
    [
        (ROWS[0], r"shape \(31,\)"),
        (ROWS[None], r"shape \(1, 11, 31\)"),
        (np.float64(3.0), r"shape \(\)"),
        (3.0, "float"),
        (None, "NoneType"),
        ("abc", "str"),
        ({0: ROWS[0]}, "dict"),
        ((row for row in ROWS), "generator"),
        ([], "none"),
        (np.zeros((0, 4)), "none"),
        (torch.zeros(0, 4), "none"),
        (ROWS.astype(int), "int64"),
        (ROWS.astype(complex), "complex128"),
        (ROWS.astype(bool), "bool"),
        (ROWS.astype(object), "object"),
        (torch.zeros(9, 4, dtype=torch.int32), "int32"),
        (torch.zeros(9, 4, dtype=torch.complex64), "complex64"),
        ([ROWS[0], ROWS[1][:5]], "one length"),
        ([ROWS, ROWS], "one length"),
        ([1.0, 2.0], "one length"),
        ([[1.0, [2.0]], [3.0, 4.0]], "vectors"),
        ([["a", "b"], ["c", "d"]], "floating point"),
        ([torch.zeros(4), np.zeros(4)], "kind"),
        (ROWS.astype(">f8"), ">f8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_updates_that_are_no_matrix_of_floats_are_refused(updates, says):
    with pytest.raises(UpdateError, match=says):
        krum(updates, f=1)
