"""Attacks in which hostile clients change their own updates, knowing nobody else's but their accomplices'.

`own` holds the hostile clients' own updates, `(f, d)`; given `f`, the first f rows of a taller matrix count.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hawthorn.strategies.contract import attack, nearest, number_between
from hawthorn.strategies.errors import SettingError

Updates = npt.NDArray[np.float64]


@attack
def sign_flip(own: Updates, f: int | None = None, *, scale: float = 1.0) -> Updates:
    """Each update turned around, `-scale` times what it was: gradient ascent.

    Li et al., AAAI 2019, https://arxiv.org/abs/1811.03761

    >>> sign_flip(np.array([[1.0, -2.0]]), scale=2.0)
    array([[-2.,  4.]])
    """
    return -scale * own[:f]


@attack
def gaussian(
    own: Updates,
    f: int | None = None,
    *,
    scale: float = 100.0,
    sigma: float | None = None,
    rng: np.random.Generator | None = None,
) -> Updates:
    """Noise without any signal instead of each update: independent normal coordinates around zero.

    Their standard deviation is `sigma`; without one it is `scale` times the root mean square of the update's own
    coordinates, which makes the noise about `scale` times as long as the update, enough to drown a mean.

    Blanchard et al., NeurIPS 2017, https://arxiv.org/abs/1703.02757 (with sigma = 200)

    >>> noise = gaussian(np.full((1, 10_000), 0.5), scale=4.0)
    >>> bool(1.9 < noise.std() < 2.1)
    True
    """
    rows = own[:f]
    deviation = np.sqrt((rows**2).mean(axis=1, keepdims=True)) * scale if sigma is None else sigma
    return (rng or np.random.default_rng(0)).normal(size=rows.shape) * deviation


@attack
def model_replacement(
    own: Updates, f: int | None = None, *, boost: float | None = None, clients: int = 0, hostile: int = 0
) -> Updates:
    """Each update multiplied by `boost`, so that it survives the averaging: the mean becomes what the attacker trained.

    With n clients of which f are hostile, a boost of n / f makes the plain mean move by the mean of the hostile updates
    (and the honest ones' share on top). That is the default where n is known: in a recipe, which knows clients and
    hostile, and for a matrix of all n rows with `f`. Raises `SettingError` where it is not.

    Bagdasaryan et al., AISTATS 2020, https://arxiv.org/abs/1807.00459 (gamma = n / eta for one attacker)

    >>> model_replacement(np.array([[1.0, 2.0]]), boost=5.0)
    array([[ 5., 10.]])
    """
    if boost is None:
        n, attacking = (clients, max(hostile, 1)) if clients else (len(own), f or 0)
        if not attacking or n <= attacking:
            raise SettingError(
                "model_replacement needs to know by how much: write model_replacement(boost=clients / hostile)"
            )
        boost = n / attacking
    return boost * own[:f]


@attack
def free_rider(
    own: Updates,
    f: int | None = None,
    *,
    sends: str = "nothing",
    noise: float = 0.0,
    moved: npt.NDArray[np.float64] | None = None,
    rng: np.random.Generator | None = None,
) -> Updates:
    """What a client sends that has not trained and wants the model all the same: no move, or the one of last time.

    `sends` "nothing" is the model as it came (the plain free rider); "moved" the last global update `moved`, which
    passes for work because updates resemble the ones before. `noise` hides either: normal, that many times as long as
    the last global update. In the first round there is none, and nothing is sent.

    Lin, Du, Liu, 2019, https://arxiv.org/abs/1911.12560 (moved: "delta weights"); Fraboni, Vidal, Lorenzi, AISTATS
    2021, https://arxiv.org/abs/2006.11901 (nothing, and noise on it)

    >>> free_rider(np.ones((2, 2))), free_rider(np.ones((1, 2)), sends="moved", moved=np.array([0.5, 2.0]))
    (array([[0., 0.],
           [0., 0.]]), array([[0.5, 2. ]]))
    """
    if sends not in FREE_RIDES:
        raise SettingError(f"free_rider cannot send {sends!r}; {nearest(str(sends), FREE_RIDES)}")
    noise = number_between("free_rider", "a noise of at least 0", noise, -1e-12, np.inf)
    rows = np.zeros(own[:f].shape)
    if moved is None:
        return rows
    rows += moved if sends == "moved" else 0.0
    return rows + _of_length(rows.shape, noise * float(np.linalg.norm(moved)), rng)


FREE_RIDES = ("nothing", "moved")


@attack
def sybil(
    own: Updates,
    f: int | None = None,
    *,
    jitter: float = 0.0,
    members: tuple[int, ...] = (),
    rng: np.random.Generator | None = None,
) -> Updates:
    """The update of one adversary under many identities: all send what the first of them trained.

    So one set of poisoned examples gets f votes. `jitter` tells the copies apart, as the attack `jitter` does with its
    `share`; without it they are equal to the last bit. Made for `"label_flip + sybil"` and the like: in a recipe it
    needs its accomplices' updates, so only a simulation carries it out.

    Fung, Yoon, Beschastnikh, RAID 2020, https://arxiv.org/abs/1808.04866

    >>> sybil(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[1., 2.],
           [1., 2.]])
    """
    rows = own[:f]
    first = members.index(min(members)) if members else 0
    return _jittered(np.tile(rows[first : first + 1], (len(rows), 1)), "jitter", jitter, rng)


@attack
def jitter(
    own: Updates, f: int | None = None, *, share: float = 0.1, rng: np.random.Generator | None = None
) -> Updates:
    """Each update with noise of its own, `share` times as long as the update is.

    It tells rows apart that another attack made equal, which a defense could take as a sign: `"ipm + jitter"`.

    Fung, Yoon, Beschastnikh, RAID 2020, https://arxiv.org/abs/1808.04866 (sybils that perturb what they share)

    >>> rows = jitter(np.full((2, 4), 0.5), share=0.3)
    >>> np.linalg.norm(rows - 0.5, axis=1).round(9), bool((rows[0] != rows[1]).all())
    (array([0.3, 0.3]), True)
    """
    return _jittered(own[:f], "share", share, rng)


def _jittered(rows: Updates, option: str, share: float, rng: np.random.Generator | None) -> Updates:
    share = number_between(
        "jitter" if option == "share" else "sybil", f"a {option} of at least 0", share, -1e-12, np.inf
    )
    return rows + _of_length(rows.shape, share * np.linalg.norm(rows, axis=1, keepdims=True), rng)


def _of_length(shape: tuple[int, ...], length: float | Updates, rng: np.random.Generator | None) -> Updates:
    """A row each of noise in a random direction, of that length."""
    noise = (rng or np.random.default_rng(0)).normal(size=shape)
    return noise / np.linalg.norm(noise, axis=1, keepdims=True) * length
