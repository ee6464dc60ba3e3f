"""What is installed is what is in the folders, and it asks for what it imports."""

import ast
import importlib
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("strategies", "client", "server", "scripts")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = sorted(
    "hawthorn." + ".".join(path.parent.relative_to(ROOT).parts)
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("__init__.py")
)


def test_every_folder_with_code_is_a_package_and_every_package_is_installed():
    with_code = {path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert sorted("hawthorn." + ".".join(folder.relative_to(ROOT).parts) for folder in with_code) == PACKAGES
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == PACKAGES


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_say_what_they_are_and_are_typed(name):
    package = importlib.import_module(name)
    assert package.__doc__
    assert (ROOT / name.split(".")[1] / "py.typed").exists()


def test_hawthorn_stays_a_namespace_package():
    assert not (ROOT / "__init__.py").exists()
    assert importlib.import_module("hawthorn").__spec__.origin is None


@pytest.mark.parametrize("folder", FOLDERS)
def test_editors_find_the_packages_through_links(folder):
    link = ROOT / "typings/hawthorn" / folder
    assert link.is_symlink()
    assert link.resolve() == ROOT / folder
    assert not link.readlink().is_absolute()


def declared():
    """The distributions the project asks for, extras included, by their import names."""
    wanted = [*PROJECT["project"]["dependencies"]]
    for extra in ("torch", "cuda", "postgres", "ray", "simulation", "redteam"):
        wanted += PROJECT["project"]["optional-dependencies"][extra]
    names = {normalized(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in wanted}
    owned = metadata.packages_distributions()
    return {module for module, owners in owned.items() if {normalized(owner) for owner in owners} & names}


def normalized(name):
    """The name of a distribution as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_is_a_declared_dependency():
    found = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {(alias.name.split(".")[0], path.name) for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    found.add((node.module.split(".")[0], path.name))
    known = declared() | set(sys.stdlib_module_names) | {"hawthorn"}
    assert sorted(pair for pair in found if pair[0] not in known) == []


def test_components_of_the_flower_app_exist():
    for target in PROJECT["tool"]["flwr"]["app"]["components"].values():
        module, name = target.split(":")
        assert hasattr(importlib.import_module(module), name)
        tree = ast.parse(Path(importlib.import_module(module).__file__).read_text())
        plain = [node for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == name]
        assert plain, f"flwr looks for a plain top-level {name} = ... in {module}"
