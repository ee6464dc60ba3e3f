"""A federation of the package's own clients, one of whom plants a backdoor, committed to an audit with all updates."""

import random

from hawthorn.client.app import app
from hawthorn.client.attacks import hostile_clients
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.server.app import holdout
from hawthorn.server.audit import Audit
from hawthorn.server.inner import inner_strategy
from hawthorn.server.kinds import rounds_kept
from hawthorn.server.settings import Settings, function_named
from hawthorn.strategies import RobustStrategy

ROUNDS = 8
BACKDOOR = "backdoor(target=0, size=2)"


def settings(**more) -> Settings:
    """A federation of six on digits; the rule lets the attacker through."""
    given = {
        "task": "digits",
        "clients": 6,
        "hostile": 1,
        "attack": BACKDOOR,
        "tolerated": "1",
        "defense": "mean; policy=none",
        "partition": "iid",
        "rounds": ROUNDS,
        "local-epochs": 2,
        "fraction-evaluate": 0.0,
        "updates": "all",
    }
    return Settings.parse(given | {"audit": "audit.db", "checkpoints": "kept"} | more)


def attacker(of: Settings) -> str:
    """The identity of the one who attacks."""
    return str(101 + min(hostile_clients(of.clients, of.hostile, of.seed)))


def started(of: Settings, run, *, rounds=None, evaluate=None, observers=(), held=(), grid=None):
    """The run's result: the strategy that the server makes of the settings, with all that is committed."""
    random.seed(of.seed)
    inner = inner_strategy(
        of.inner,
        fraction_train=of.fraction_train,
        fraction_evaluate=0.0,
        min_train_nodes=1,
        min_evaluate_nodes=1,
        min_available_nodes=1,
    )
    strategy = RobustStrategy(inner, of.recipe, ledger=run, observers=observers)
    strategy.held = dict.fromkeys(held)
    arrays = function_named("model", of.model)(of.run_config())
    grid = grid or InProcessGrid(app, of.clients, of.run_config())
    return strategy.start(grid, arrays, num_rounds=rounds or of.rounds, evaluate_fn=evaluate)


def held_run(path, of: Settings, *, name="poisoned", every=10, **more) -> int:
    """The number of the run, held and committed to the audit at `path`, its files beside it."""
    with (
        Audit.open(path) as audit,
        audit.run(
            of.run_config(),
            name=name,
            resume=True,
            checkpoints=path.with_name("kept"),
            every=every,
            updates=rounds_kept(of.updates),
            half=of.updates_half,
        ) as run,
    ):
        started(of, run, evaluate=holdout(of) if of.holdout else None, **more)
    return run.id
