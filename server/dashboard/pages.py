"""The page on which to log in, which works without scripts."""

from __future__ import annotations

import functools
import html
from pathlib import Path
from string import Template

STATIC = Path(__file__).parent / "static"


def login_page(message: str = "") -> str:
    """The page, with a word on what was wrong."""
    return _login().substitute(message=html.escape(message))


@functools.cache
def _login() -> Template:
    return Template((STATIC / "login.html").read_text(encoding="utf-8"))
