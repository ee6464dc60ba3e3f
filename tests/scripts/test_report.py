import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hawthorn.scripts.federation import Federation
from hawthorn.scripts.report import html
from hawthorn.scripts.results import Results
from hawthorn.server.settings import Settings

EVIL = "</script><img src=https://evil.example/x.png onerror=alert(1)>"


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text of its first script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
            self._inside = ""


@pytest.fixture(scope="module")
def results() -> Results:
    settings = Settings.parse(
        {"clients": 6, "hostile": 2, "attack": "label_flip", "rounds": 2, "local-epochs": 1, "tolerated": "2"}
    )
    federation = Federation.of(settings, settings.recipe)
    return Results.of(federation, "in-process", federation.run_all("in-process", lambda run: None))


def test_the_page_loads_nothing(results: Results):
    text = html(results)
    loading = [
        (tag, name, value)
        for tag, attributes in Page(text).elements
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "data", "action", "poster"}
    ]
    assert loading == []
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_plotly_is_inside_once_and_every_place_has_its_plot(results: Results):
    text = html(results)
    page = Page(text)
    assert len(page.scripts) == 3
    assert len(re.findall(r"plotly\.js v\d", text)) == 1
    plots = json.loads(page.scripts[0])
    places = [attributes["data-plot"] for _, attributes in page.elements if "data-plot" in attributes]
    expected = ["accuracy", "success", "verdicts", "weights"]
    assert places == [*expected, *(f"score-{name}" for name in results.federation.defense.scores)]
    assert set(places) <= set(plots)
    assert plots["accuracy"]["data"][2]["y"] == results.runs["defended"].accuracy
    assert plots["verdicts"]["data"][0]["y"].count("0 ●") == (0 in results.federation.hostile)
    assert len(plots["verdicts"]["data"][0]["z"]) == 6


def test_the_page_tells_what_the_tables_tell(results: Results):
    text = html(results)
    for words in ("label_flip", "dirichlet(0.5)", "honest clients only", str(results.federation.defense)):
        assert words in text


def test_nothing_that_a_client_or_a_setting_says_becomes_markup(results: Results):
    bad = [replace(reply, accepted=False, reason=EVIL, scores={EVIL: 1.0}) for reply in results.contributions]
    settings = replace(results.federation.settings, data=EVIL, attack=EVIL)
    evil = replace(
        results, contributions=tuple(bad), federation=replace(results.federation, settings=settings), engine=EVIL
    )
    page = Page(html(evil))
    assert "img" not in {tag for tag, _ in page.elements}
    assert len(page.scripts) == 3
    plots = json.loads(page.scripts[0])
    assert "<img" not in json.dumps(plots["verdicts"]["data"][0]["text"])
