import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version

import pytest
from program import SMALL, Ended


def test_help_lists_the_commands(hawthorn: Callable[..., Ended]):
    ended = hawthorn("--help")
    assert ended.status == 0
    for command in ("simulate", "audit", "benchmark"):
        assert command in ended.out


def test_version(hawthorn: Callable[..., Ended]):
    assert hawthorn("--version").out == f"hawthorn {version('hawthorn')}\n"


def test_starting_loads_nothing_that_only_a_command_needs():
    heavy = "{'torch', 'flwr', 'ray', 'plotly', 'numba', 'sklearn', 'scipy', 'sqlalchemy'}"
    script = f"import sys; import hawthorn.scripts.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--attack", "sign_flop"), "no attack named 'sign_flop'; did you mean 'sign_flip'?"),
        (("--attack", "sign_flip(scael=2)"), "did you mean 'scale'?"),
        (("--defense", "krun"), "no rule or preset named 'krun'; did you mean 'krum'?"),
        (("--policy", "fdt"), "did you mean 'fdr'?"),
        (("--task", "digit"), "did you mean 'digits'?"),
        (("--task", "npz"), "needs a file"),
        (("--task", "npz", "--data", "nowhere.npz"), "nowhere.npz"),
        (("--engine", "flour"), "did you mean 'flower'?"),
        (("--partition", "dirichlet"), "dirichlet(0.5)"),
        (("--rounds", "0"), "rounds must be a whole number of at least 1"),
        (("--clients", "3", "--hostile", "3"), "hostile"),
        (("--defense", "krum", "--tolerated", "4"), "krum tolerates at most 3"),
        (("--tolerated", "0.7"), "[0, 0.5)"),
        (("--json", "nowhere/results.json"), "folder that exists"),
        (("--report", "nowhere/report.html"), "folder that exists"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_the_operator_can_mend_is_told_in_one_line(
    hawthorn: Callable[..., Ended], arguments: tuple[str, ...], told: str
):
    ended = hawthorn("simulate", *arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.startswith("hawthorn: ")
    assert ended.err.count("\n") == 1
    assert told in ended.err


def test_an_unknown_option_is_an_error(hawthorn: Callable[..., Ended]):
    assert hawthorn("simulate", "--rouns", "3").status == 2


def test_the_installed_program_runs(tmp_path: object):
    script = [sys.executable, "-m", "hawthorn.scripts.main", "simulate", *SMALL, "--rounds", "1", "--no-report"]
    done = subprocess.run(script, capture_output=True, text=True, check=True, cwd=str(tmp_path))
    assert "honest clients only" in done.stdout
    assert "Traceback" not in done.stderr


def test_without_torch_a_command_that_trains_says_what_to_install():
    script = "import sys; sys.modules['torch'] = None; sys.argv = ['hawthorn', 'simulate']; " + (
        "from hawthorn.scripts.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "hawthorn: this command trains models and needs torch: install hawthorn[torch]\n"
