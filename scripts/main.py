"""The `hawthorn` program: one command per file of this folder.

What a command needs beyond its options (torch, Flower, plotly) it imports when it runs, so that `hawthorn --help`
answers at once.
"""

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from . import (
    audit,
    benchmark,
    calibrate,
    certify,
    clients,
    control,
    dashboard,
    deployment,
    evaluate,
    inspect,
    redteam,
    rewind,
    rules,
    simulate,
    vet,
)

app = typer.Typer(
    name="hawthorn",
    help="A hedge around a Flower federation: Byzantine-robust aggregation with verdicts on every client.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(simulate.simulate)
app.command()(rules.rules)
app.command()(evaluate.evaluate)
app.command()(redteam.redteam)
app.command()(certify.certify)
app.command()(calibrate.calibrate)
app.command()(inspect.inspect)
app.command()(benchmark.benchmark)
app.command()(vet.vet)
app.add_typer(audit.app, name="audit")
app.command()(rewind.rewind)
app.command()(control.control)
app.add_typer(clients.app, name="clients")
app.add_typer(dashboard.app, name="dashboard")
app.add_typer(deployment.app, name="federation")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hawthorn {version('hawthorn')}")
        raise typer.Exit


@app.callback()
def program(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """A hedge around a Flower federation: Byzantine-robust aggregation with verdicts on every client."""


def main() -> None:
    """Run the program: exit status 0 for success only, 2 for what the operator can mend, told in one line."""
    # Flower reports home by default; a defense that phones out of a hospital would not be used in one.
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    try:
        app()
    except Exception as error:
        # Imported late: whoever raised one has loaded the package already, and `--help` should not.
        from hawthorn.strategies.errors import HawthornError

        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            error = HawthornError("this command trains models and needs torch: install hawthorn[torch]")
        if not isinstance(error, HawthornError):
            raise error
        print(f"hawthorn: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
