"""The catalogue of the docs is what the code says, and says the truth about it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hawthorn.scripts.catalogue import CLIENTS, HOSTILE, LAWS, TRUSTED, Entry, catalogue, least_rows
from hawthorn.scripts.catalogue_page import markdown
from hawthorn.strategies import geometric_median, kernels
from hawthorn.strategies.certificates import PROVEN
from hawthorn.strategies.contract import ATTACKS, POLICIES, RULES, SCORES, TRANSFORMS, Rule
from program import Ended

DOCS = Path(__file__).parent.parent.parent / "docs" / "catalogue.md"
WITHOUT_SOURCE = {"mean"}
READING = ("gram", "layers", "products", "beside", "largest", "combine", "order_statistic", "columns")


@pytest.fixture(scope="module")
def entries() -> dict[str, dict[str, Entry]]:
    return {kind: {one.name: one for one in found} for kind, found in catalogue().items()}


def test_the_docs_hold_what_the_code_says():
    assert DOCS.read_text(encoding="utf-8") == markdown(), "run: hawthorn rules --markdown > docs/catalogue.md"


def test_every_part_is_listed_and_says_what_it_answers(entries: dict[str, dict[str, Entry]]):
    tables = {"rules": RULES, "transforms": TRANSFORMS, "scores": SCORES, "policies": POLICIES, "attacks": ATTACKS}
    assert {kind: set(found) for kind, found in entries.items()} == {kind: set(t) for kind, t in tables.items()}
    for found in entries.values():
        for one in found.values():
            assert one.answer.endswith((".", "`.")), one.name
            assert one.exempt.keys() <= LAWS.keys(), one.name


@pytest.mark.parametrize("name", sorted(RULES.keys() - WITHOUT_SOURCE))
def test_every_rule_names_its_source_and_where_to_read_it(entries: dict[str, dict[str, Entry]], name: str):
    source = entries["rules"][name].source
    assert re.match(r"[A-Z].*\d{4}", source), f"{name}: write 'Source: authors, venue year, https://...'"
    assert "https://" in source, name


@pytest.mark.parametrize(
    ("name", "rows", "most"),
    [
        ("trimmed_mean", "2f + 1", 9),
        ("krum", "2f + 3", 8),
        ("bulyan", "4f + 3", 4),
        ("residual_reweighting", "2f + 2, or 1 for f = 0", 9),
    ],
)
def test_tolerance_by_hand(entries: dict[str, dict[str, Entry]], name: str, rows: str, most: int):
    facts = entries["rules"][name].facts
    assert (facts["least"], facts["most"]) == (rows, most)


def test_what_is_no_line_in_f_is_listed():
    assert least_rows(lambda f: f * f + 1) == "1, 2, 5, 10, 17 ... for f = 0, 1 ..."
    assert least_rows(lambda f: 2 * f) == "2f"


def test_a_coefficient_is_told_where_one_is_proven_and_nowhere_else(entries: dict[str, dict[str, Entry]]):
    for name, one in entries["rules"].items():
        assert one.facts["proven"] == (PROVEN[name](CLIENTS, HOSTILE) if name in PROVEN else None), name
        assert not (name in PROVEN and "survival" in one.exempt), name


def test_needs_are_those_of_the_rules(entries: dict[str, dict[str, Entry]]):
    needs = {name: one.needs for name, one in entries["rules"].items()}
    assert {name for name in needs if TRUSTED in needs[name]} == {"monna", "fltrust"}, "those that refuse to do without"
    assert {"lasa", "deepsight"} <= {name for name in needs if "bounds of layers, if known" in needs[name]}
    assert "bounds of layers, if known" not in needs["signguard"], "which counts signs in all of them"
    assert needs["foolsgold"] == ("identities: sums of updates, n d kept",)
    assert needs["krum"] == ()


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_reads_are_those_of_the_kernels(
    monkeypatch: pytest.MonkeyPatch, entries: dict[str, dict[str, Entry]], rule: Rule
):
    rows, reads = np.random.default_rng(1).normal(size=(CLIENTS, 3000)) + 0.5, [0.0]

    def counted(name: str) -> Callable[..., Any]:
        kernel = getattr(kernels, name)

        def read(data: Any, *arguments: Any) -> Any:
            if data.shape == rows.shape:
                part = {
                    "columns": lambda: len(arguments[0]) / rows.shape[1],
                    "combine": lambda: len(arguments[0]) / CLIENTS,
                }
                reads[0] += part[name]() if name in part else 1
            return kernel(data, *arguments)

        return read

    given = {rule.beside: geometric_median(rows)} if rule.beside else {}
    for name in READING:
        monkeypatch.setattr(kernels, name, counted(name))
    rule(rows, f=HOSTILE, **given)
    assert round(reads[0]) == entries["rules"][rule.name].facts["reads"]


def test_the_command_lists_every_part(hawthorn: Callable[..., Ended]):
    ended = hawthorn("rules")
    assert ended.status == 0
    for table in (RULES, TRANSFORMS, SCORES, POLICIES):
        for name in table:
            assert name in ended.out
    assert hawthorn("rules", "--markdown").out == markdown()


def test_the_command_tells_all_of_one_part(hawthorn: Callable[..., Ended]):
    told = hawthorn("rules", "multi_krum").out
    assert told.startswith("rule multi_krum(m=None)\n\nThe mean of the m rows")
    assert ">>> multi_krum(" in told
    assert hawthorn("rules", "alie").out.startswith("attack alie(z=None)")
    ended = hawthorn("rules", "multi_krun")
    assert ended.status == 2
    assert "did you mean 'multi_krum'?" in ended.err


def test_the_catalogue_as_json(hawthorn: Callable[..., Ended]):
    document = hawthorn("rules", "--json", "-").document
    assert document.keys() == {"rules", "transforms", "scores", "policies", "attacks"}
    krum = next(one for one in document["rules"] if one["name"] == "krum")
    assert krum["facts"]["least"] == "2f + 3"
    assert hawthorn("rules", "--json", "nowhere/rules.json").status == 2
