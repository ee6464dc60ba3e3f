"""Every example in a docstring runs and says the truth."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("strategies", "client", "server", "scripts")
MODULES = sorted(
    "hawthorn." + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if path.name not in ("__main__.py", "env.py")  # Alembic's environment is there only while it migrates
)


def examples(module):
    found = doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs={"np": np})
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples(module):
        runner.run(test, out=print)  # pytest shows what it says when it fails
    assert runner.summarize(verbose=False).failed == 0


def test_every_registered_function_of_the_strategies_has_an_example_and_it_is_found():
    from hawthorn.strategies.contract import POLICIES, RULES, SCORES, TRANSFORMS

    for table in (RULES, TRANSFORMS, SCORES, POLICIES):
        for name, part in table.items():
            module = importlib.import_module(part.__module__)
            shown = {test.name.rpartition(".")[2] for test in examples(module)}
            assert name in shown or name == "none", f"{name} shows no example"
