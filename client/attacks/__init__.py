"""What hostile clients do: to their data, to their own updates, and to each other's advantage.

Attacks compose with `+`: `Recipe.parse("backdoor(target=0) + model_replacement")`. A client's own attacks run in the
ClientApp; colluding ones need the honest updates, so a simulation runs them on the server's side.
"""

from .colluding import alie, ipm
from .data import Trigger, backdoor, label_flip, targeted_flip
from .own import gaussian, model_replacement, sign_flip
from .recipe import Recipe, attack_success, hostile_clients

__all__ = [
    "Recipe",
    "Trigger",
    "alie",
    "attack_success",
    "backdoor",
    "gaussian",
    "hostile_clients",
    "ipm",
    "label_flip",
    "model_replacement",
    "sign_flip",
    "targeted_flip",
]
