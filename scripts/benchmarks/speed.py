"""`hawthorn benchmark speed`: what rules and pipelines cost, in reads: multiples of the time to read the updates once.

Everything is timed in one process, in turns, so that a machine that slows down slows all alike. Memory is measured
apart, by one more run of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from statistics import median as middle
from typing import Any

import numpy as np
from hawthorn.strategies import Defense
from hawthorn.strategies.contract import RULES
from hawthorn.strategies.errors import HawthornError, SettingError
from hawthorn.strategies.geometry import Geometry
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .history import stamp
from .peers import ON_DEVICE, PEERS
from .replies import quiet
from .rounds import tolerated
from .timing import Copier, Job, Reader, Work, clocked, figures, free_memory, in_turns, peak_memory

CLIENTS = (10, 20, 50, 100)
VALUES = (64_000_000,)  # 256 MB of float32: many times any cache
PIPELINES = ("arc | nnm | trimmed_mean", "nnm | trimmed_mean", "nnm | krum", "geometric_median")
BARE, FULL = "bare: ", "full: "
ONCE = "read once"
LONGEST = 20.0  # seconds of one run, beyond which a subject is left out of a size
TRIALS = (32, 16)  # a subject is tried on such fractions of the columns, to tell what all of them would take

Updates = NDArray[np.float32]


def ours(rows: Any, f: int) -> Iterator[Work]:
    """Every registered rule, bare pipelines, the same with scores and verdicts, and pass 1 alone."""
    n = len(rows)
    for name, rule in RULES.items():
        # a rule that asks for more rows is given the largest f it tolerates
        most = max((g for g in range(f + 1) if rule.least(g) <= n), default=f)
        given = {"trusted": rows[0]} if "trusted" in rule.asked else {}  # what it is does not change what it costs
        yield Work(
            name, "rules", lambda rule=rule, most=most, given=given: partial(rule, rows, f=most, **given), ours=True
        )
    yield Work("geometry (pass 1 alone)", "geometry", lambda: partial(Geometry.of, rows), ours=True)
    clients = [str(client) for client in range(n)]
    for text in PIPELINES:
        count = tolerated(text, n, f)
        bare = Defense.parse(text, f=count, scores=(), policy="none")
        full = Defense.parse(text, f=count)
        yield Work(BARE + text, "pipelines", lambda bare=bare: partial(_update, bare, rows, None), ours=True)
        yield Work(FULL + text, "full Defense", lambda full=full: partial(_update, full, rows, clients), ours=True)


def _update(defense: Defense, rows: Any, clients: list[str] | None) -> Any:
    outcome = defense(rows, clients=clients)
    if outcome.skipped:
        raise SettingError(f"no update: {outcome.skipped}")
    return outcome.update


def measured(
    *,
    clients: Sequence[int] = CLIENTS,
    values: Sequence[int] = VALUES,
    repeats: int = 7,
    seconds: float = 5.0,
    device: str = "cpu",
    only: Callable[[str], bool] = lambda _: True,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """For each number of clients and values, the seconds of one read and what everything else took in reads."""
    place = _Device(device)
    settings = {"clients": list(clients), "values": list(values), "repeats": repeats, "seconds": seconds}
    with quiet():
        sizes = [_size(n, count // n, place, repeats, seconds, only, tell) for count in values for n in clients]
    return {"subject": "speed", **stamp(), "device": place.name, "settings": settings, "sizes": sizes}


class _Device:
    """Where the updates are: how to get them there, and how to tell that work there is done."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.torch: Any = None
        if name == "cpu":
            return
        self.torch = import_module("torch")
        if name != "cuda" or not self.torch.cuda.is_available():
            raise SettingError(f"device must be cpu, or cuda where torch finds a GPU, got {name!r}")
        self.name = f"cuda ({self.torch.cuda.get_device_name()})"

    def put(self, rows: Updates) -> Any:
        return rows if self.torch is None else self.torch.as_tensor(rows).cuda()

    def part(self, rows: Any, columns: int) -> Any:
        """The first columns as a matrix of their own."""
        return np.ascontiguousarray(rows[:, :columns]) if self.torch is None else rows[:, :columns].contiguous()

    def done(self, ready: Callable[[], Job]) -> Callable[[], Job]:
        """The same preparation of a job that ends only when the device is done."""
        if self.torch is None:
            return ready

        def prepared() -> Job:
            job = ready()
            return lambda: (job(), self.torch.cuda.synchronize())[0]

        return prepared

    def memory(self, job: Job) -> int | None:
        """The most bytes in use at a time beyond those in use before."""
        if self.torch is None:
            return peak_memory(job)
        self.torch.cuda.reset_peak_memory_stats()
        before = self.torch.cuda.memory_allocated()
        job()
        return self.torch.cuda.max_memory_allocated() - before

    def free(self) -> int:
        return free_memory() if self.torch is None else self.torch.cuda.mem_get_info()[0]

    def yardsticks(self, rows: Any) -> Iterator[Work]:
        """One read, and one copy."""
        if self.torch is None:
            reader, copier = Reader(rows), Copier(rows)
        else:
            copy: list[Any] = []
            reader = partial(self.torch.sum, rows)

            def copier() -> None:
                copy[:] = copy or [self.torch.empty_like(rows)]
                copy[0].copy_(rows)

        yield Work(ONCE, "memory", lambda: reader)
        yield Work("memcpy", "memory", lambda: copier)


def _works(rows: Any, f: int, place: _Device, left_out: dict[str, str]) -> dict[str, Work]:
    """Everything that can be timed on these rows, by name."""
    found = [*place.yardsticks(rows), *ours(rows, f)]
    for name, works in PEERS.items():
        if place.torch is not None and name not in ON_DEVICE:
            left_out[name] = "not on this device"
            continue
        try:
            found += works(rows, f)
        except ImportError:
            left_out[name] = "not installed"
    return {work.name: Work(work.name, work.group, place.done(work.ready), work.ours) for work in found}


def _size(
    n: int,
    d: int,
    place: _Device,
    repeats: int,
    seconds: float,
    only: Callable[[str], bool],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    f = n // 5
    rows = place.put(np.random.default_rng(n).standard_normal((n, d), dtype=np.float32))
    left_out: dict[str, str] = {}
    works = [work for work in _works(rows, f, place, left_out).values() if work.name == ONCE or only(work.name)]
    if len(works) == 1:
        raise SettingError(f"--only finds none of {', '.join(_works(rows, f, place, {}))}")
    trials = [_works(place.part(rows, max(d // part, 1)), f, place, {}) for part in TRIALS]
    kept: list[Work] = []
    for work in works:
        tell(f"n={n}, trying {work.name}")
        reason = _too_much([trial[work.name] for trial in trials if work.name in trial], place)
        if reason is None or work.name == ONCE:
            kept.append(work)
        else:
            left_out[work.name] = reason
    del trials
    taken = in_turns(kept, repeats, seconds, lambda text: tell(f"n={n}, {text}"))
    once = taken[ONCE]
    table: dict[str, dict[str, Any]] = {}
    for work in kept:
        tell(f"n={n}, peak memory: {work.name}")
        memory = place.memory(work.ready())
        multiple = None if memory is None else round(memory / (4 * n * d), 4)
        table[work.name] = {
            "group": work.group,
            "ours": work.ours,
            **figures(taken[work.name], once),
            "memory": multiple,
        }
    return {
        "n": n,
        "d": d,
        "f": f,
        "bytes": 4 * n * d,
        "work": table,
        "overhead": {text: _overhead(taken, text) for text in PIPELINES if {BARE + text, FULL + text} <= taken.keys()},
        "left_out": left_out,
    }


def _overhead(taken: dict[str, list[float]], text: str) -> dict[str, float]:
    """What scores and verdicts add to a pipeline, as a share of the bare one."""
    full, bare = taken[FULL + text], taken[BARE + text]
    return {
        "best": round(min(full) / min(bare) - 1, 4),
        "median": round(middle(with_ / without for with_, without in zip(full, bare, strict=False)) - 1, 4),
    }


def _too_much(trials: Sequence[Work], place: _Device) -> str | None:
    """Why a subject should be left out, as told by runs on few columns; these compile it, too."""
    spent: list[float] = []
    needed = 0
    for work in trials:
        try:
            work.ready()()
            spent.append(clocked(work.ready()))
            needed = place.memory(work.ready()) or 0
        except HawthornError as error:
            return str(error)
        except Exception as error:  # a peer may fail in any way
            if work.ours:
                raise
            return f"{type(error).__name__}: {error}".splitlines()[0]
    few, more = spent
    whole = few + max(more - few, 0.0) * (TRIALS[0] - 1)  # part of it takes the same however many columns there are
    if whole > LONGEST:
        return f"a run would take about {whole:.0f} s"
    if needed * TRIALS[1] > place.free():
        return f"a run would take about {needed * TRIALS[1] / 1e9:.0f} GB of memory"
    return None


def show(found: dict[str, Any], console: Console) -> None:
    """The figures as a table: subjects by group, a column for each size, and the most memory a subject took."""
    sizes = found["sizes"]
    several = len({size["d"] * size["n"] // 1000 for size in sizes}) > 1
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("reads")
    for size in sizes:
        table.add_column(f"n={size['n']}" + (f"\nd={size['d']:,}" if several else ""), justify="right")
    table.add_column("memory", justify="right")
    groups: dict[str, dict[str, None]] = {}
    for size in sizes:
        for name, work in size["work"].items():
            groups.setdefault(work["group"], {})[name] = None
    for names in groups.values():
        for name in (name for name in names if name != ONCE):
            works = [size["work"].get(name) for size in sizes]
            table.add_row(name, *("-" if work is None else f"{work['reads']:.1f}" for work in works), _most(works))
        table.add_section()
    for text in PIPELINES:
        added = [size["overhead"].get(text) for size in sizes]
        if any(added):
            table.add_row(f"verdicts add: {text}", *("-" if a is None else f"{a['median']:+.0%}" for a in added), "")
    table.add_section()
    table.add_row(
        "one read, ms (GB/s)",
        *(f"{size['work'][ONCE]['median'] * 1000:.1f} ({_rate(size)})" for size in sizes),
        "",
    )
    console.print(table)
    machine, settings = found["machine"], found["settings"]
    megabytes = ", ".join(f"{count * 4 / 1e6:g}" for count in settings["values"])
    console.print(
        f"{megabytes} MB of float32, f = n // 5, {found['device']}, {machine['cores']} cores of {machine['cpu']}. "
        f"reads: time over the time to read the matrix once, median of {settings['repeats']} interleaved turns (fewer "
        "where slow). memory: the peak beyond the input, over it. verdicts add: full over bare, likewise. "
        "(*) wrong for rows that share a large common part.",
        style="dim",
    )
    for name, reason in _left_out(sizes):
        console.print(f"left out: {name}: {reason}", style="dim", markup=False)


def _rate(size: dict[str, Any]) -> str:
    return f"{size['bytes'] / size['work'][ONCE]['median'] / 1e9:.0f}"


def _most(works: Sequence[dict[str, Any] | None]) -> str:
    known = [work["memory"] for work in works if work is not None and work["memory"] is not None]
    return f"{max(known):.2f}" if known else "n/a"


def _left_out(sizes: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each subject that was left out somewhere, and where and why."""
    told: dict[tuple[str, str], list[int]] = {}
    for size in sizes:
        for name, reason in size["left_out"].items():
            told.setdefault((name, reason), []).append(size["n"])
    everywhere = [size["n"] for size in sizes]
    return [
        (name, reason if ns == everywhere else f"at n={', '.join(map(str, ns))}: {reason}")
        for (name, reason), ns in told.items()
    ]
