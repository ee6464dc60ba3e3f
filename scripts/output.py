"""Files that commands write: whether they can be written, asked before time is spent, and JSON documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hawthorn.strategies.errors import SettingError


def check_targets(targets: Mapping[str, str | Path | None]) -> None:
    """Raise `SettingError` for a file, given by its option, that could not be written; none and "-" always can."""
    for option, target in targets.items():
        if target is None or str(target) in {"", "-"}:
            continue
        path = Path(target)
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise SettingError(f"{option} must be a file in a folder that exists, got {str(target)!r}")


def write_json(document: Mapping[str, Any], target: str) -> None:
    """Write a document to a file, to standard output where the target is "-", or nowhere where it is empty."""
    text = json.dumps(document, indent=1, allow_nan=False)
    if target == "-":
        print(text)
    elif target:
        Path(target).write_text(text + "\n", encoding="utf-8")
