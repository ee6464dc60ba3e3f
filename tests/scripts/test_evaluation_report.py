"""The page of an evaluation, from evaluations that were run for it."""

import json
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hawthorn.scripts.evaluation.evaluation import Evaluation, evaluated
from hawthorn.scripts.evaluation.grid import Grid
from hawthorn.scripts.evaluation.report import html
from pages import Element, Page
from plotly.offline import get_plotlyjs
from program import Ended
from rich.console import Console

EVIL = "</script></details><img src=https://evil.example/x.png onerror=alert(1)>"

# Small and unusual: every option that may differ from its default stands in the commands of some cells.
COMMON = {"clients": 7, "hostile": 2, "local-steps": 3}
SMALL = COMMON | {
    "rounds": 4,
    "evaluate-every": 2,
    "learning-rate": 0.05,
    "partition": "iid",
    "attacks": ["sign_flip", "gaussian", "backdoor(trigger='pixels') + model_replacement"],
    "defenses": ["median", "krum; f=1"],
    "seeds": [1, 2],
}
TWO_TASKS = COMMON | {"task": ["digits", "breast_cancer"], "rounds": 2, "attacks": "gaussian", "seeds": [5]}


def ran(written: dict[str, Any], store: Path) -> Evaluation:
    return evaluated(Grid.parse(written), store, workers=1, ray="", aside=Console(quiet=True))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation") / "cells.db"


@pytest.fixture(scope="module")
def evaluation(store: Path) -> Evaluation:
    return ran(SMALL, store)


@pytest.fixture(scope="module")
def two_tasks(store: Path) -> Evaluation:
    return ran(TWO_TASKS, store)


@pytest.fixture(scope="module")
def page(evaluation: Evaluation) -> Page:
    return Page(html(evaluation.document()))


def own(text: str) -> str:
    """A page without the library that draws its plots."""
    return text.replace(str(get_plotlyjs()), "")


def failing(evaluation: Evaluation, keys: Iterable[str], reason: str) -> Evaluation:
    """The evaluation as if these cells had failed."""
    left = {key: result for key, result in evaluation.results.items() if key not in set(keys)}
    return replace(evaluation, results=left, failed=dict.fromkeys(keys, reason))


def keys(evaluation: Evaluation, **config: Any) -> list[str]:
    return [cell.key for cell in evaluation.cells if config.items() <= cell.config.items()]


def check(page: Page, evaluation: Evaluation) -> None:
    """What holds of every page: links lead somewhere, cells are there once, plots have their places and their lines."""
    assert len(page.ids) == len(set(page.ids))
    targets = [link.attributes["href"] for link in page.all("a")]
    assert {target.removeprefix("#") for target in targets} <= set(page.ids)
    assert {cell.key for cell in evaluation.cells} <= set(page.ids)
    places = [one.attributes["data-plot"] for one in page.all("div") if "data-plot" in one.attributes]
    assert sorted(places) == sorted(page.plots)
    for plot in page.plots.values():
        (chooser,) = page.all("select", id=plot["chooser"])
        assert len(page.within(chooser, "option")) == len(plot["choices"])
        assert all(values is None or len(values) == len(plot["data"]) for values in plot["choices"])


def test_the_page_loads_nothing(evaluation: Evaluation, page: Page):
    loading = {"src", "srcset", "data", "action", "poster", "background"}
    assert not [element for element in page.elements if loading & element.attributes.keys()]
    assert not page.all("link")
    assert all(link.attributes["href"].startswith("#") for link in page.all("a"))
    text = html(evaluation.document())
    assert text.count(str(get_plotlyjs())) == 1
    assert "://" not in own(text)
    assert not re.search(r"url\(|@import|\bimport\(|fetch\(", own(text))


def test_every_number_leads_to_its_cells_and_every_cell_has_a_place(evaluation: Evaluation, page: Page):
    check(page, evaluation)
    tables = [table for table in page.all("table") if not any(one.tag == "details" for one in table.inside)]
    assert len(tables) == 1 + 2 + 4 + 1  # standings, heat maps of what is lost and granted, and of detection, cost
    numbers = [
        cell
        for table in tables[:-1]
        for row in page.within(table, "tr")
        for cell in page.cells(row)
        if re.search(r"\d\.\d", cell.text)
    ]
    assert len(numbers) > 50
    for cell in numbers:
        assert len(page.within(cell, "a")) == 1, cell.text
    # and to the right ones
    entries = {(entry.attack, entry.defense): entry for entry in evaluation.entries}
    table = page.all("table", **{"class": "heat"})[0]
    head, *rows = page.within(table, "tr")
    defenses = [cell.attributes["title"] for cell in page.cells(head)[1:]]
    for row in rows:
        attack, *cells = page.cells(row)
        for defense, cell in zip(defenses, cells, strict=True):
            entry = entries[attack.text, defense]
            (link,) = page.within(cell, "a")
            assert link.attributes["href"] == f"#{entry.keys[0]}"
            assert entry.gap is not None
            assert link.text == f"{100 * entry.gap.mean:.1f}"


def test_standings_come_first_and_in_them_the_defense_that_loses_least_at_worst(evaluation: Evaluation, page: Page):
    head, *rows = page.rows(page.all("table")[0])
    assert head[:3] == ["defense", "lost at worst", "worst attack"]
    gaps = {one.defense: one.worst.gap.mean for one in evaluation.standings if one.worst and one.worst.gap}
    assert len(gaps) == len(rows) == 3
    ranked = sorted(gaps, key=lambda defense: gaps[defense])
    assert [row[0] for row in rows] == ["undefended" if one == "fedavg" else one.split(";")[0] for one in ranked]
    for row, defense in zip(rows, ranked, strict=True):
        assert row[1].startswith(f"{100 * gaps[defense]:.1f} ± ")
    worst = {one.defense: one.worst.attack for one in evaluation.standings if one.worst}
    assert [row[2] for row in rows] == [worst[one] for one in ranked]
    best = next(defense for defense in ranked if defense != "fedavg")
    (answer,) = [one.text for one in page.all("p") if "loses least" in one.text]
    assert answer.startswith(f"{best.split(';')[0]} loses least: {100 * gaps[best]:.1f} ± ")
    assert f"under {worst[best]}. Undefended, {100 * gaps['fedavg']:.1f} ± " in answer


def test_what_is_caught_is_in_per_cent_and_undefended_runs_catch_nobody(evaluation: Evaluation, page: Page):
    caught = page.heat("Caught")
    assert len(caught[0]) == 3  # attack, and the two defenses
    entries = {(entry.attack, entry.defense.split(";")[0]): entry for entry in evaluation.entries}
    for attack, *shown in caught[1:]:
        recalls = [entries[attack, defense].recall for defense in caught[0][1:]]
        assert shown == [f"{100 * recall.mean:.1f}" for recall in recalls if recall]
    assert [row[0] for row in caught[1:]].count("none") == 0
    assert page.heat("False alarms")[-1][0] == "none"


def test_the_lines_are_those_of_the_rounds_that_were_evaluated(evaluation: Evaluation, page: Page):
    plot = page.plots["figure-0"]
    assert {(line["x0"], line["dx"]) for line in plot["data"]} == {(2, 2)}
    assert plot["layout"]["xaxis"]["range"] == [0.5, 4.5]
    (chooser,) = page.all("select")
    attacks = [option.text for option in page.within(chooser, "option")]
    names = [line.get("name", "") for line in plot["data"]]
    seeds = keys(evaluation, run="undefended", attack="sign_flip")
    assert len(seeds) == 2
    both = [evaluation.results[key]["rounds"]["accuracy"] for key in seeds]
    values = plot["choices"][attacks.index("sign_flip")]
    place = names.index("undefended")
    assert len(both[0]) == 2
    least, greatest, mean = values[place - 2 : place + 1]
    for step, pair in enumerate(zip(*both, strict=True)):
        assert least[step] == pytest.approx(min(pair), abs=1e-4)
        assert greatest[step] == pytest.approx(max(pair), abs=1e-4)
        assert mean[step] == pytest.approx(sum(pair) / 2, abs=1e-4)
    assert "honest clients only" in names


def test_the_wish_is_drawn_for_attacks_that_have_one(page: Page):
    (chooser,) = page.all("select")
    attacks = [option.text for option in page.within(chooser, "option")]
    drawn = {attack for attack, values in zip(attacks, page.plots["success-0"]["choices"], strict=True) if values}
    assert drawn == {"backdoor(trigger='pixels') + model_replacement"}
    assert all(page.plots["figure-0"]["choices"])


def groups(page: Page) -> list[Element]:
    """The folded parts that have cells in them."""
    return [one for one in page.all("details") if "id" in one.attributes]


def inside(page: Page, group: Element, found: set[str]) -> set[str]:
    """The cells of a group."""
    return found & {group.attributes["id"], *(one.attributes.get("id", "") for one in page.within(group, "span"))}


@pytest.mark.parametrize("which", [pytest.param("evaluation", marks=pytest.mark.slow), "two_tasks"])
def test_the_command_of_a_cell_runs_that_cell(
    which: str, request: pytest.FixtureRequest, store: Path, hawthorn: Callable[..., Ended]
):
    evaluation: Evaluation = request.getfixturevalue(which)
    page = Page(html(evaluation.document()))
    configs = {cell.key: cell.config for cell in evaluation.cells}
    covered: set[str] = set()
    for group in groups(page):
        program, name, *words = shlex.split(page.within(group, "pre")[0].text)
        assert (program, name) == ("hawthorn", "evaluate")
        ended = hawthorn(name, *words, "--store", str(store), "--workers", "1", "--json", "-")
        assert ended.status == 0, ended.err
        wanted = inside(page, group, set(configs))
        assert wanted
        assert wanted <= set(ended.document["cells"]), words
        if configs[group.attributes["id"]]["run"] == "defended":  # nothing else had to be run for it
            assert "0 run" in ended.err
        covered |= wanted
    assert covered == set(configs)


def test_what_a_cell_ran_with_is_told_in_full(evaluation: Evaluation, page: Page):
    (key, *_) = keys(evaluation, run="defended", attack="gaussian")
    group = next(one for one in groups(page) if one.attributes["id"] == key)
    config = evaluation.document()["cells"][key]["config"]
    for name, value in config.items():
        if name != "seed":
            assert f"{name} {value}" in group.text
    assert "seeds 1, 2" in group.text
    final = evaluation.results[key]["final"]["accuracy"]
    assert f"{100 * final:.1f}" in group.text


def test_cells_that_failed_come_first_and_in_red(evaluation: Evaluation):
    wanted = keys(evaluation, run="defended", attack="gaussian")
    alone = [key for key in wanted if "krum" in evaluation.document()["cells"][key]["config"]["defense"]]
    lost = keys(evaluation, run="undefended", attack="sign_flip", seed=2)
    text = html(failing(evaluation, [*alone, *lost], "MemoryError: <b>too large</b>").document())
    page = Page(text)
    check(page, evaluation)
    first, second, third, *_ = groups(page)
    assert {first.attributes["id"], second.attributes["id"]} & set(alone)
    for group in (first, second):
        red = [one.text for one in page.within(group, "p") if one.attributes.get("class") == "stopped"]
        assert any("failed: MemoryError: <b>too large</b>" in line for line in red)
    assert "too large" not in third.text
    assert "<b>too large</b>" not in text
    (warning,) = [one for one in page.all("p") if one.text.startswith("3 cells failed")]
    assert warning.attributes["class"] == "stopped"
    assert [element.tag for element in page.elements].index("table") > page.elements.index(warning)
    krum = next(row for row in page.rows(page.all("table")[0]) if row[0] == "krum")
    assert "2 failed" in krum[1]
    lost_map = page.heat("Accuracy lost")
    row = next(row for row in lost_map if row[0] == "gaussian")
    assert row[lost_map[0].index("krum")] == "failed"
    row = next(row for row in lost_map if row[0] == "sign_flip")
    assert row[lost_map[0].index("undefended")].endswith("†")


def test_where_every_cell_failed_there_is_still_a_page(evaluation: Evaluation):
    every = [cell.key for cell in evaluation.cells]
    broken = failing(evaluation, every, "MemoryError")
    page = Page(html(broken.document()))
    check(page, broken)
    assert any(one.text.startswith(f"{len(every)} cells failed") for one in page.all("p"))


@pytest.mark.parametrize("reached", [0, 1])
def test_a_run_that_was_stopped_is_marked_and_its_line_ends_at_nothing(evaluation: Evaluation, reached: int):
    (key,) = keys(evaluation, run="undefended", attack="gaussian", seed=1)
    whole = evaluation.results[key]
    names = whole["rounds"] if reached else ["attack_success"]  # a run that shows nothing names nothing
    early = whole | {
        "rounds": {name: whole["rounds"][name][:reached] for name in names},
        "final": {name: whole["final"][name] for name in names},
        "stopped": "round 3: <i>the model</i> is not finite",
    }
    broken = replace(evaluation, results=dict(evaluation.results) | {key: early})
    text = html(broken.document())
    page = Page(text)
    check(page, broken)
    lost = page.heat("Accuracy lost")
    row = next(row for row in lost if row[0] == "gaussian")
    assert row[lost[0].index("undefended")].endswith("†")
    assert "<i>" not in own(text)
    (told,) = [one.text for one in page.all("p") if one.text.startswith("seed 1 stopped")]
    assert "<i>the model</i> is not finite" in told
    plot = page.plots["figure-0"]
    (chooser,) = page.all("select")
    values = plot["choices"][[one.text for one in page.within(chooser, "option")].index("gaussian")]
    place = [line.get("name") for line in plot["data"]].index("undefended")
    assert values[place - 2][reached:] == [0.0] * (2 - reached)


def test_nothing_that_somebody_wrote_is_taken_for_html(evaluation: Evaluation):
    document = json.dumps(evaluation.document())
    evil = json.dumps(EVIL)[1:-1]
    for name in ("sign_flip", "median", "iid"):
        assert f'"{name}' in document
        document = document.replace(f'"{name}', f'"{evil}{name}')
    written = json.loads(document)
    for cell in written["cells"].values():
        cell["data"] = EVIL
    text = html(written)
    page = Page(text)
    assert EVIL not in own(text)
    assert not page.all("img")
    assert len(groups(page)) == 4 * 3 + 3  # honest clients alone are the same under attacks that wish for nothing
    assert f"{EVIL}sign_flip" in [row[0] for row in page.heat("Accuracy lost")]
    names = [line["name"] for line in page.plots["figure-0"]["data"] if "name" in line]
    assert not any("<" in name for name in names)  # Plotly takes names for a kind of HTML
    (chooser,) = page.all("select")
    assert EVIL + "sign_flip" in [one.text for one in page.within(chooser, "option")]
    assert any(EVIL in shlex.split(one.text) for one in page.all("pre"))


def test_one_seed_one_defense_and_one_attack_have_a_page_without_bands(store: Path, evaluation: Evaluation):
    few = ran(SMALL | {"attacks": "gaussian", "defenses": "median", "seeds": 1}, store)
    assert set(few.results) < set(evaluation.results)
    page = Page(html(few.document()))
    check(page, few)
    assert [line["name"] for line in page.plots["figure-0"]["data"]] == ["median", "undefended", "honest clients only"]
    assert "success-0" not in page.plots  # nobody wished for anything
    assert "one seed: no interval" in page.all("p")[0].text
    assert "±" not in page.all("main")[0].text
    with pytest.raises(StopIteration):
        page.heat("Attack's wish")


def test_where_nobody_attacks_the_price_of_the_hedge_stands_first(store: Path, evaluation: Evaluation):
    peaceful = ran(SMALL | {"attacks": "none", "hostile": 0, "tolerated": 2}, store)
    page = Page(html(peaceful.document()))
    check(page, peaceful)
    head, *rows = page.rows(page.all("table")[0])
    assert head == ["defense", "accuracy", "honest only", "lost", "alarm", "worst client"]
    assert sorted(row[0] for row in rows) == ["krum", "median", "undefended"]
    final = next(entry.final for entry in peaceful.entries if entry.defense == "fedavg")
    assert final is not None
    assert next(row for row in rows if row[0] == "undefended")[1].startswith(f"{100 * final.mean:.1f}")


def test_each_task_has_its_part_and_they_are_beside_each_other_first(two_tasks: Evaluation):
    page = Page(html(two_tasks.document()))
    check(page, two_tasks)
    titles = [title.text for title in page.all("h2")]
    assert [title.split(",")[0] for title in titles] == ["digits", "breast_cancer"]
    _, *rows = page.rows(page.all("table")[0])
    assert [row[0] for row in rows] == titles
    assert {name.split("-")[0] for name in page.plots} == {"figure"}
    assert len(page.plots) == 2
    assert {plot["chooser"] for plot in page.plots.values()} == {"attack-0", "attack-1"}


def test_shares_of_hostile_clients_have_their_parts_and_peace_is_told_once(store: Path):
    two = ran(TWO_TASKS | {"task": "digits", "hostile": [1, 2]}, store)
    page = Page(html(two.document()))
    check(page, two)
    assert ["1 of 7" in title.text for title in page.all("h2")] == [True, False]
    # a defense that tolerates one is not shown where two attack, and there is nothing that its name must tell apart
    names = [[line["name"] for line in page.plots[f"figure-{place}"]["data"]] for place in (0, 1)]
    assert names == [["shortened_mean", "undefended", "honest clients only"]] * 2


def test_the_page_is_small_beside_the_library_that_draws_it(evaluation: Evaluation):
    frame = len(own(html(replace(evaluation, results={}).document())))
    whole = len(own(html(evaluation.document())))
    assert frame < 20_000
    assert whole - frame < 5_000 * len(evaluation.cells)
