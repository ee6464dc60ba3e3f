"""The elements of an HTML page, for tests that read one."""

import json
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "br", "wbr", "img", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    inside: list["Element"]
    text: str = ""


class Page(HTMLParser):
    """The elements of a page in their order, each with those around it and the text in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(text)
        assert not self._open  # every element is closed

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, list(self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """The elements of this kind."""
        found = (element for element in self.elements if element.tag == tag)
        return [one for one in found if attributes.items() <= one.attributes.items()]

    def within(self, parent: Element, tag: str) -> list[Element]:
        """The elements of this kind inside another one."""
        return [element for element in self.all(tag) if any(one is parent for one in element.inside)]

    def rows(self, table: Element) -> list[list[str]]:
        """A table as text."""
        return [[cell.text for cell in self.cells(row)] for row in self.within(table, "tr")]

    def cells(self, row: Element) -> list[Element]:
        """The cells of a row."""
        return [one for one in self.elements if one.tag in {"th", "td"} and any(each is row for each in one.inside)]

    def heat(self, title: str) -> list[list[str]]:
        """The heat map whose title begins like this."""
        tables = {
            self.within(table.inside[-2], "h3")[0].text: table for table in self.all("table", **{"class": "heat"})
        }
        return self.rows(next(table for name, table in tables.items() if name.startswith(title)))

    @property
    def ids(self) -> list[str]:
        """Where links may lead."""
        return [element.attributes["id"] for element in self.elements if "id" in element.attributes]

    @property
    def plots(self) -> dict[str, Any]:
        """The plots by their names."""
        (script,) = self.all("script", id="plots")
        return json.loads(script.text)
