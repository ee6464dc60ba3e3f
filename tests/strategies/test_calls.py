"""Recipes as text: what is written, what is read back, and what is refused with the nearest name."""

import numpy as np
import pytest
from hawthorn.strategies import Defense, SettingError
from hawthorn.strategies.contract import POLICIES, RULES, SCORES, TRANSFORMS, Call
from hawthorn.strategies.given import UNMIXED
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,12}", fullmatch=True).filter(
    lambda name: name.isidentifier() and not _keyword(name)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=4,
)


def _keyword(name):
    import keyword

    return keyword.iskeyword(name)


@given(name=NAMES, options=st.dictionaries(NAMES, VALUES, max_size=3))
def test_calls_print_and_parse_back(name, options):
    call = Call(name, tuple(sorted(options.items())))
    assert Call.parse(str(call)) == call
    assert str(Call.parse(f"  {call}\n")) == str(call)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5",
        "krum(",
        "krum)",
        "krum(2)",
        "krum(m)",
        "krum(m=)",
        "krum(m=x)",
        "krum(m=1+x)",
        "krum(m=1, m=2)",
        "a.b(c=1)",
        "krum(*[1])",
        "krum(**{'m': 1})",
        "krum f=2",
        "krum; f=2",
        "nnm | krum",
        "m=5",
        "krum(m=print())",
        "krum\0",
        "krum\nkrum",
        "krum(m={[]: 1})",
        "krum(m=1e999)",
        "(" * 10000,
        "krum(m=" + "[" * 5000 + ")",
        None,
        5,
        b"krum",
        RULES["krum"],
    ],
    ids=lambda text: repr(text)[:20],
)
def test_what_is_no_call_is_refused(text):
    with pytest.raises(SettingError, match="write a name"):
        Call.parse(text)


# rules that look at what mixed rows do not have stand behind no transform
MIXED = [name for name, rule in RULES.items() if not rule.reads_columns and not rule.asked & set(UNMIXED)]
TRANSFORMED = st.lists(st.sampled_from(["arc", "nnm", "clip(radius=1.5)", "clip(radius=2)"]), max_size=3)
PIPELINES = st.tuples(st.sampled_from([*MIXED, "multi_krum(m=3)", " multi_krum( m = 3 ) "]), TRANSFORMED) | st.tuples(
    st.sampled_from([name for name in RULES if name not in MIXED]), st.just([])
)
SETTINGS = st.fixed_dictionaries(
    {
        "f": st.integers(0, 50) | st.floats(0, 0.499) | st.integers(0, 9).map(np.int64) | st.just(np.float32(0.25)),
        "scores": st.lists(st.sampled_from(list(SCORES)), min_size=1, max_size=4, unique=True).map(tuple),
        "policy": st.sampled_from([*POLICIES, "fdr(q=0.1)", "threshold(z=3)"]),
    }
)


@given(pipeline=PIPELINES, settings=SETTINGS)
def test_defenses_print_and_parse_back(pipeline, settings):
    rule, before = pipeline
    defense = Defense(rule, before=before, **settings)
    again = Defense.parse(str(defense))
    assert again == defense
    assert hash(again) == hash(defense)
    assert str(again) == str(defense)
    assert type(again.f) is type(defense.f)


def test_defenses_compare_by_value():
    assert Defense.parse("arc | nnm | trimmed_mean", f=0.2) == Defense(
        before=("arc", "nnm"), rule="trimmed_mean", f=0.2
    )
    assert Defense("multi_krum( m=5 )", f=2) == Defense("multi_krum(m=5)", f=2, before=[])
    assert Defense("krum", f=2) != Defense("krum", f=3)
    assert Defense("krum", f=1, policy="fdr(q=0.05)") != Defense("krum", f=1, policy="fdr(q=0.1)")
    assert Defense.parse("krum; f=2", f=3).f == 3
    assert Defense.parse("krum").f == Defense("krum").f
    assert Defense.parse("nnm|krum ;  f = 2;policy = none", scores=()).scores == ()
    with pytest.raises(AttributeError):
        Defense("krum", f=2).f = 3


def test_a_recipe_without_scores_prints_and_parses_back():
    defense = Defense("krum", f=2, scores=(), policy="none")
    assert Defense.parse(str(defense)) == defense


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Defense("trimed_mean"), "no rule named 'trimed_mean'; did you mean 'trimmed_mean'"),
        (lambda: Defense("krumm"), "did you mean 'krum'"),
        (lambda: Defense("xyz"), "known: "),
        (lambda: Defense(before=("nmm",)), "no transform named 'nmm'; did you mean 'nnm'"),
        (lambda: Defense(before=("krum",)), "no transform named 'krum'"),
        (lambda: Defense("nnm"), "no rule named 'nnm'"),
        (lambda: Defense(scores=("lenght",)), "no score named 'lenght'; did you mean 'length'"),
        (lambda: Defense(policy="frd"), "no policy named 'frd'; did you mean 'fdr'"),
        (lambda: Defense("krum(m=3)"), "krum has no option 'm'"),
        (lambda: Defense("multi_krum(n=3)"), "multi_krum has no option 'n'"),
        (lambda: Defense(before=("clip(raduis=1.0)",)), "did you mean 'radius'"),
        (lambda: Defense(before=("clip",)), "clip needs radius"),
        (lambda: Defense(policy="fdr(p=0.1)"), "fdr has no option 'p'"),
        (lambda: Defense(before="nnm"), "sequence"),
        (lambda: Defense(scores="length"), "sequence"),
        (lambda: Defense(scores=()), "policy='none'"),
        (lambda: Defense(RULES["krum"]), "write a name"),
        (lambda: Defense("nnm | krum"), "write a name"),
        (lambda: Defense.parse(""), "write a name"),
        (lambda: Defense.parse("nnm | "), "write a name"),
        (lambda: Defense.parse("krum; g=2"), "f=, scores=, policy=, momentum= or reputation="),
        (lambda: Defense.parse("krum; f"), "f=, scores=, policy=, momentum= or reputation="),
        (lambda: Defense.parse("krum; f=x"), "count such as 2 or a share"),
        (lambda: Defense.parse("krum; f=1; f=2"), "twice"),
        (lambda: Defense.parse("krum; f=0.7"), "share"),
        (lambda: Defense.parse(None), "text"),
        # values that no round would take fail here, not in the first round
        (lambda: Defense("multi_krum(m='x')"), "whole number"),
        (lambda: Defense("multi_krum(m=0)"), "whole number"),
        (lambda: Defense(before=("clip(radius=-1)",)), "positive finite radius"),
        (lambda: Defense(policy="fdr(q=2)"), "between 0 and 1"),
        (lambda: Defense(policy="fdr(q='x')"), "between 0 and 1"),
        (lambda: Defense(policy="threshold(z=0)"), "positive"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_recipes_that_cannot_run_are_refused_when_made(make, says):
    with pytest.raises(SettingError, match=says.replace("(", r"\(")):
        make()


@pytest.mark.parametrize("f", [True, -1, 0.5, -0.1, "x", "2", None, float("nan"), 1.5, [1]], ids=repr)
def test_a_wrong_f_is_refused_when_the_recipe_is_made(f):
    with pytest.raises(SettingError, match=r"count .* share"):
        Defense("krum", f=f)


def test_unknown_fields_are_type_errors():
    for make in (lambda: Defense("krum", g=2), lambda: Defense.parse("krum", polcy="none")):
        with pytest.raises(TypeError):
            make()


@pytest.mark.parametrize("table", [RULES, TRANSFORMS, SCORES, POLICIES], ids=lambda table: table.kind)
def test_tables_are_mappings_that_know_the_nearest_name(table):
    assert len(table) == len(list(table))
    for name, part in table.items():
        assert part.name == name
        assert name in table
        assert part.__doc__
        assert name in repr(part)
        with pytest.raises(SettingError, match=f"no {table.kind} named '{name}x'; did you mean"):
            table[name + "x"]
        with pytest.raises(SettingError, match="already"):
            table.add(name, part)
    assert "x" * 50 not in table
