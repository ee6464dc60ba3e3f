"""The fuzzer: `fuzz.py TARGET --seconds 600`. With atheris it is guided by coverage, without it mutates by chance.

What breaks a promise is written to `found/`, whose files are inputs of the tests ever after.
"""

import argparse
import hashlib
import logging
import random
import resource
import sys
import time
import warnings
from pathlib import Path
from types import FunctionType

HERE = Path(__file__).parent
FOUND = HERE / "found"
TARGETS = {
    "replies": ("replies", "fuzzed_round"),
    "services": ("services", "fuzzed_calls"),
    "manifests": ("manifests", "fuzzed_manifest"),
}
WATCHED = (
    *("hawthorn.strategies.flower", "hawthorn.strategies.weights", "hawthorn.server.control", "hawthorn.server.audit"),
    *("flwr.common.serde", "flwr.app.message", "flwr.supercore.inflatable"),
)


def target_of(name):
    """The function of bytes that a target is."""
    sys.path[:0] = [str(HERE), str(HERE.parent / "flower"), str(HERE.parent / "server")]
    module, function = TARGETS[name]
    return getattr(__import__(module), function)


def inputs(seed, count, starts=()):
    """So many inputs, the same for the same seed: random ones, and changed ones of those before."""
    rng = random.Random(seed)
    kept = [*starts, b""]
    for _ in range(count):
        data = bytearray(rng.choice(kept))
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.choice((0, 0, 1, 8))] = rng.randbytes(rng.choice((0, 1, 2, 8, 64, 300)))
        kept = [*kept[-200:], bytes(data[:4096])]
        yield kept[-1]


def kept_inputs(name):
    """What was found for a target before, by file name."""
    return {path.name: path.read_bytes() for path in sorted(FOUND.glob(f"{name}-*"))}


def guided(atheris, target, name, seconds, corpus):
    """Run until the time is over, guided by coverage; the process ends with it."""
    corpus.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        "-rss_limit_mb=3000",
        "-timeout=900",
        "-report_slow_units=900",
        "-timeout=60",
        "-max_len=4096",
        "-print_final_stats=1",
    ]
    options += [f"-artifact_prefix={FOUND}/{name}-", "-len_control=0", str(corpus)]
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()


def by_chance(target, name, seconds, seed):
    """Run until the time is over, without guidance."""
    end, count = time.monotonic() + seconds, 0
    for data in inputs(seed, sys.maxsize):
        if time.monotonic() >= end:
            break
        try:
            target(data)
        except BaseException:
            path = FOUND / f"{name}-{hashlib.sha1(data).hexdigest()[:12]}"
            path.write_bytes(data)
            print(f"written to {path}")
            raise
        count += 1
    print(f"{count} inputs in {seconds} s, at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


def watch(atheris):
    """Have every function of the watched modules tell which of its branches are taken; those of Numba cannot."""
    modules = [module for name, module in sys.modules.items() if name.startswith(WATCHED)]
    for module in modules:
        classes = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
        for one in [*vars(module).values(), *(member for kind in classes for member in vars(kind).values())]:
            function = getattr(one, "__func__", getattr(one, "fget", one))
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                atheris.instrument_func(function)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder of inputs that reached something new")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    FOUND.mkdir(exist_ok=True)
    try:
        import atheris
    except ModuleNotFoundError:
        atheris = None
        print("without atheris (pip install atheris, Python 3.11): inputs are changed by chance")
    target = target_of(asked.target)
    if atheris is None:
        by_chance(target, asked.target, asked.seconds, asked.seed)
    else:
        target(b"")  # what is imported late is imported now
        watch(atheris)
        guided(atheris, target, asked.target, asked.seconds, asked.corpus or Path(".fuzz") / asked.target)


if __name__ == "__main__":
    main()
