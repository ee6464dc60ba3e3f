"""The page of an inspection, from files that were saved for it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hawthorn.scripts.inspecting.embedding import FARTHEST, alike_first, embedding
from hawthorn.strategies import Geometry
from pages import Page
from plotly.offline import get_plotlyjs
from program import Ended
from saved_updates import CLIENTS, HOSTILE, matrix, round_of_updates, saved

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def page(hawthorn: Callable[..., Ended], tmp_path: Path) -> Callable[..., tuple[Page, str]]:
    """The page of files, and its text without the library that draws its plots."""

    def written(*arguments: object) -> tuple[Page, str]:
        target = tmp_path / "page.html"
        ended = hawthorn("inspect", *map(str, arguments), "--html", str(target))
        assert str(target) in ended.out
        text = target.read_text(encoding="utf-8")
        assert text.count(str(get_plotlyjs())) == 1
        return Page(text), text.replace(str(get_plotlyjs()), "")

    return written


def tables(page: Page) -> dict[str, list[list[str]]]:
    """The tables by the titles above them."""
    found: dict[str, list[list[str]]] = {}
    title = ""
    for element in page.elements:
        if element.tag == "h2":
            title = element.text
        if element.tag == "table":
            found[title] = page.rows(element)
    return found


def test_the_page_loads_nothing(page: Callable[..., tuple[Page, str]], tmp_path: Path):
    found, text = page(saved(tmp_path / "round", round_of_updates()))
    loading = {"src", "srcset", "href", "data", "action", "poster", "background"}
    assert not [element for element in found.elements if loading & element.attributes.keys()]
    assert "://" not in text
    assert not re.search(r"url\(|@import|\bimport\(|fetch\(", text)


def test_it_tells_what_the_table_and_the_json_tell(
    page: Callable[..., tuple[Page, str]], inspected: Callable[..., dict[str, Any]], tmp_path: Path
):
    folder = saved(tmp_path / "round", round_of_updates())
    (folder / "broken.npz").write_bytes(b"")
    found, _ = page(folder, "--tolerated", "3")
    document = inspected(folder, "--tolerated", "3")
    shown = tables(found)
    head, *rows = shown["Clients"]
    assert head[:5] == ["client", "verdict", "p-value", "weight", "length"]
    assert head[5:] == [f"score: {name}" for name in document["clients"][0]["scores"]]
    for cells, client in zip(rows, document["clients"], strict=True):
        numbers = [client["p_value"], client["weight"], client["length"], *client["scores"].values()]
        assert cells[:2] == [client["name"], "accepted" if client["accepted"] else "rejected"]
        assert cells[2:] == [f"{value:.3g}" for value in numbers]
    assert shown["Reasons"][1:] == [[c["name"], c["reason"]] for c in document["clients"] if c["reason"]]
    assert shown["Refused"][1:] == [[one["name"], one["reason"]] for one in document["refused"]]
    (answer,) = [p.text for p in found.all("p") if "rejected, at most" in p.text]
    assert answer.startswith("2 of 10 clients rejected, at most 3 expected to be hostile; 1 file refused")


def test_every_plot_has_its_place_and_is_of_the_geometry(
    page: Callable[..., tuple[Page, str]], inspected: Callable[..., dict[str, Any]], tmp_path: Path
):
    folder = saved(tmp_path / "round", round_of_updates())
    found, _ = page(folder)
    geometry = inspected(folder)["geometry"]
    places = [one.attributes["data-plot"] for one in found.all("div") if "data-plot" in one.attributes]
    assert sorted(places) == sorted(found.plots) == ["cosines", "lengths", "plane"]
    hostile = {f"client-{k} ●" for k in HOSTILE}
    names = [f"client-{k}" + (" ●" if k in HOSTILE else "") for k in range(CLIENTS)]

    (heat,) = found.plots["cosines"]["data"]
    assert sorted(heat["x"]) == sorted(names)
    for name, row in zip(heat["y"], heat["z"], strict=True):
        for other, value in zip(heat["x"], row, strict=True):
            expected = geometry["cosines"][names.index(name)][names.index(other)]
            assert value == (None if name == other else pytest.approx(expected))
    assert {heat["y"][0], heat["y"][1]} == hostile or {heat["y"][-1], heat["y"][-2]} == hostile  # side by side

    lines = {line["name"]: line for line in found.plots["plane"]["data"]}
    assert len(lines["rejected"]["x"]) == len(HOSTILE)
    assert len(lines["accepted"]["x"]) == CLIENTS - len(HOSTILE)
    assert set(lines["rejected"]["marker"]["symbol"]) == {"circle-open"}
    assert found.plots["plane"]["layout"]["yaxis"]["scaleanchor"] == "x"

    (dots,) = found.plots["lengths"]["data"]
    np.testing.assert_allclose(dots["x"], np.sort(np.linalg.norm(matrix(), axis=1))[::-1], rtol=1e-6)


def test_rounds_are_counted(page: Callable[..., tuple[Page, str]], tmp_path: Path):
    updates = round_of_updates()
    for r in (1, 2):
        saved(tmp_path / "run" / f"r{r}", {name: one for name, one in updates.items() if (r, name) != (2, "client-0")})
    found, _ = page(tmp_path / "run")
    assert found.all("h1")[0].text == "Inspection of r2"
    head, *rows = tables(found)["Clients"]
    assert head[-1] == "rejected"
    assert [row[-1] for row in rows] == ["2 of 2" if k in HOSTILE else "0 of 2" for k in range(1, CLIENTS)]
    assert tables(found)["Not in the last round"][1:] == [["client-0", "0 of 1"]]


def test_nothing_that_somebody_wrote_is_taken_for_html(page: Callable[..., tuple[Page, str]], tmp_path: Path):
    updates = {f"{EVIL[:30]}{name}".replace("/", ""): one for name, one in round_of_updates().items()}
    folder = saved(tmp_path / "round", updates)
    (folder / f"{EVIL}.npz").write_bytes(b"")
    np.savez(folder / "z.npz", **{EVIL: np.ones(3)})
    (folder / "turned‮\x1b[2J.npz").write_bytes(b"")
    found, text = page(folder, "--defense", "krum")
    assert not found.all("img")
    assert EVIL[:30] not in text
    assert "\x1b" not in text
    assert "‮" not in text
    assert not any("<" in name for name in found.plots["cosines"]["data"][0]["x"])
    told = [text.replace("<br>", "") for line in found.plots["plane"]["data"] for text in line["text"]]
    assert not any("<" in text for text in told)
    # long names are cut, and stay apart
    assert len(set(found.plots["lengths"]["data"][0]["y"])) == CLIENTS


def test_what_a_rule_leaves_out_has_a_word_of_its_own(page: Callable[..., tuple[Page, str]], tmp_path: Path):
    found, _ = page(saved(tmp_path / "round", round_of_updates()), "--defense", "krum", "--tolerated", "2")
    words = [row[1] for row in tables(found)["Clients"][1:]]
    assert (words.count("accepted"), words.count("unused"), words.count("rejected")) == (1, 7, 2)


def test_where_there_is_no_update_the_page_says_why(page: Callable[..., tuple[Page, str]], tmp_path: Path):
    few = dict(list(round_of_updates().items())[:2])
    found, _ = page(saved(tmp_path / "few", few), "--defense", "krum; f=1; scores=; policy=none")
    (told,) = found.all("p", **{"class": "stopped"})
    assert "no update: 2 of 2 clients were accepted: krum tolerates" in told.text
    assert [row[1] for row in tables(found)["Clients"][1:]] == ["accepted", "accepted"]
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x.npz").write_bytes(b"")
    found, _ = page(tmp_path / "none")
    assert found.plots == {}
    assert "no file could be used" in found.all("p", **{"class": "stopped"})[0].text
    assert list(tables(found)) == ["Refused"]


def test_of_very_many_clients_those_most_in_doubt_are_drawn(page: Callable[..., tuple[Page, str]], tmp_path: Path):
    rows = np.random.default_rng(0).normal(1, 0.5, size=(230, 40)).astype(np.float32)
    rows[[3, 90]] *= -5
    np.save(tmp_path / "rows.npy", rows)
    found, _ = page(tmp_path / "rows.npy")
    drawn = found.plots["cosines"]["data"][0]["x"]
    assert len(drawn) == len(found.plots["lengths"]["data"][0]["y"]) == 200
    assert {"3 ●", "90 ●"} <= set(drawn)
    assert len(tables(found)["Clients"]) == 231
    assert "Of 230 clients the 200 with the least p-values are shown" in found.all("main")[0].text


# the pictures themselves


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points, axis=2)


def test_what_lies_in_a_plane_is_drawn_as_it_lies():
    rng = np.random.default_rng(4)
    flat = rng.normal(size=(9, 2))
    basis, _ = np.linalg.qr(rng.normal(size=(30, 30)))
    found = embedding(Geometry.of(flat @ basis[:2] * 7.0 + rng.normal(size=30)))
    assert found.explained == pytest.approx(1)
    assert not found.shortened.any()
    ratio = distances(found.points)[~np.eye(9, dtype=bool)] / distances(flat)[~np.eye(9, dtype=bool)]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    assert np.median(found.distances[found.distances > 0]) == pytest.approx(1)


@pytest.mark.parametrize("size", [30.0, 1e30, 1e200, 1e308])
def test_a_huge_row_does_not_squash_the_others(size: float):
    rows = np.random.default_rng(5).uniform(-1, 1, size=(10, 2))
    beside = embedding(Geometry.of(np.vstack([rows, [[size, 0.0]]])))
    assert beside.shortened.tolist() == [False] * 10 + [True]
    drawn, true = distances(beside.points[:10]), distances(rows)
    np.testing.assert_allclose(drawn, true * drawn[0, 1] / true[0, 1], atol=1e-6)
    middle = int(np.argmin(beside.distances))
    assert distances(beside.points)[middle, 10] == pytest.approx(FARTHEST)
    far = distances(beside.points)[10]  # and it lies where it came from
    assert far[np.argmax(rows[:, 0])] < far[np.argmin(rows[:, 0])]


@pytest.mark.parametrize("rows", [[[1.0, 2.0]], [[1.0, 2.0]] * 2, [[1.0, 2.0]] * 5, [[0.0, 0.0]] * 3], ids=len)
def test_few_rows_or_all_the_same_have_a_picture(rows: list[list[float]]):
    found = embedding(Geometry.of(np.array(rows)))
    np.testing.assert_allclose(found.points, 0, atol=1e-6)
    assert not found.shortened.any()
    assert sorted(alike_first(Geometry.of(np.array(rows))).tolist()) == list(range(len(rows)))


def test_rows_of_one_direction_stand_beside_each_other():
    rng = np.random.default_rng(6)
    directions = rng.normal(size=(3, 20))
    kinds = rng.permutation(np.repeat([0, 1, 2], 5))
    rows = directions[kinds] + 0.05 * rng.normal(size=(15, 20))
    order = alike_first(Geometry.of(rows))
    assert (np.diff(kinds[order]) != 0).sum() == 2
