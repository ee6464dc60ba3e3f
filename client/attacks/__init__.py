"""What hostile clients do: to their data, their training, their updates, their replies, to each other's advantage.

Attacks compose with `+`: `Recipe.parse("backdoor(target=0) + model_replacement + sleeper(wakes=5)")`. A client's own
attacks run in the ClientApp; colluding ones need the honest updates, so a simulation runs them on the server's side.
"""

from . import reply as _reply  # its attacks are found by name: `malformed` is also the module of the catalog
from .adaptive import optimized
from .backdoors import backdoor, clean_label, dba
from .bounded import min_max, min_sum
from .colluding import alie, ipm
from .data import feature_noise, label_flip, targeted_flip
from .directed import fang
from .hostile import hostile_clients
from .knowledge import Knowledge, answering
from .mimicry import mimic
from .own import free_rider, gaussian, jitter, model_replacement, sign_flip, sybil
from .recipe import Recipe
from .rounds import schedule, sleeper
from .success import attack_success, wanted
from .training import neurotoxin, sponge
from .triggers import Trigger

lie_about_counts = _reply.lie_about_counts

__all__ = [
    "Knowledge",
    "Recipe",
    "Trigger",
    "alie",
    "answering",
    "attack_success",
    "backdoor",
    "clean_label",
    "dba",
    "fang",
    "feature_noise",
    "free_rider",
    "gaussian",
    "hostile_clients",
    "ipm",
    "jitter",
    "label_flip",
    "lie_about_counts",
    "mimic",
    "min_max",
    "min_sum",
    "model_replacement",
    "neurotoxin",
    "optimized",
    "schedule",
    "sign_flip",
    "sleeper",
    "sponge",
    "sybil",
    "targeted_flip",
    "wanted",
]
