"""Imports go one way: scripts -> server, client -> strategies; kernels import nothing of ours; flwr keeps its edge."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("strategies", "client", "server", "scripts")
ALLOWED = {
    "strategies": {"strategies"},
    "client": {"client", "strategies"},
    "server": {"server", "strategies"},
    "scripts": {"scripts", "server", "client", "strategies"},
}
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
NAMES = [str(path.relative_to(ROOT)) for path in FILES]


def imports(path, *, at_import_time=False):
    """The absolute names of the modules a file imports, relative ones resolved; or only those imported when it is."""
    package = ["hawthorn", *path.relative_to(ROOT).parent.parts]
    pending, found = [ast.parse(path.read_text())], set()
    while pending:
        node = pending.pop()
        if at_import_time and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _typing(node)):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        pending += ast.iter_child_nodes(node)
    return found


def _typing(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def ours(names):
    return {name.split(".")[1] for name in names if name.startswith("hawthorn.")}


def uses(names, package):
    return any(name == package or name.startswith(package + ".") for name in names)


def test_there_is_something_to_look_at():
    assert len(FILES) > 20
    assert uses(imports(ROOT / "strategies/rules/order.py"), "hawthorn.strategies.contract")
    assert not uses(imports(ROOT / "strategies/__init__.py", at_import_time=True), "hawthorn.strategies.flower")


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_go_one_way(path):
    folder = path.relative_to(ROOT).parts[0]
    assert ours(imports(path)) <= ALLOWED[folder]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_folder_imports_itself_relatively(path):
    folder = path.relative_to(ROOT).parts[0]
    absolute = {
        name
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [node.module]
            if isinstance(node, ast.ImportFrom) and node.module and not node.level
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert not uses(absolute, f"hawthorn.{folder}")


@pytest.mark.parametrize("path", sorted((ROOT / "strategies/kernels").rglob("*.py")), ids=lambda path: path.name)
def test_kernels_import_nothing_else_of_ours(path):
    assert all(name.startswith("hawthorn.strategies.kernels") for name in imports(path) if name.startswith("hawthorn"))


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.is_relative_to(ROOT / "strategies")], ids=lambda path: path.name
)
def test_flower_and_torch_stay_at_their_edges(path):
    at_import_time = imports(path, at_import_time=True)
    if not path.is_relative_to(ROOT / "strategies/flower"):
        assert not uses(imports(path), "flwr")
    if path not in (ROOT / "strategies/kernels/cuda.py", ROOT / "strategies/kernels/tiles.py"):
        assert not uses(at_import_time, "torch")


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.is_relative_to(ROOT / "server")], ids=lambda path: path.name
)
def test_the_server_runs_without_torch(path):
    assert not uses(imports(path, at_import_time=True), "torch")


def test_importing_the_strategies_imports_neither_flower_nor_torch():
    code = """
import sys
import numpy as np
from hawthorn.strategies import Defense
Defense(f=1)(np.arange(12.0).reshape(6, 2) ** 2)
print([name for name in ("flwr", "torch", "ray", "sklearn", "sqlalchemy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_flower_strategy_is_found_under_its_public_name():
    code = "from hawthorn.strategies import RobustStrategy, RoundRecord; print(RobustStrategy.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "RobustStrategy"
