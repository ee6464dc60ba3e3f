"""Rules that let the rows vote on the sign of each coordinate."""

import numpy as np

from ..columns import Columns
from ..contract import Floats, rule, whole_number
from ..errors import ToleranceError
from ..kernels import OrderStatistic, middle

VOTES = "signs are of differences from the origin"
AXES = "each coordinate is voted on by itself"


@rule(
    exempt={
        "translation": VOTES,
        "rotation": AXES,
        "survival": "it is the mean of all rows, whose signs alone are bounded",
        "size": "it is the mean of all rows, whose signs alone are bounded",
    }
)
def rlr(columns: Columns, f: int, *, theta: int | None = None) -> Floats:
    """The mean of the rows, its sign reversed in each coordinate where the signs sum up to less than theta.

    A defense against backdoors ("robust learning rate"): where clients disagree, the model is moved away from what they
    want on average. `theta` is a number of clients; by default 2f + 1, so that at least f + 1 more honest clients are
    for a direction than against it wherever it is followed, and none for f = 0, which leaves the plain mean. Values of
    0 do not vote. Signs are all that is bounded: one row can move the answer anywhere.

    Source: Ozdayi, Kantarcioglu, Gel, AAAI 2021, https://arxiv.org/abs/2007.03767

    >>> rlr(np.array([[1.0, 3.0], [1.0, -1.0], [4.0, 1.0]]), f=1)
    array([ 2., -1.])
    """
    least = (2 * f + 1 if f else 0) if theta is None else whole_number("rlr", "theta", theta)
    if least > columns.n:
        raise ToleranceError(f"rlr with theta={least} reverses every coordinate of {columns.n} rows: write less")
    found = np.empty(columns.d)
    for start, stop, tile in columns.tiles():
        with np.errstate(over="ignore", invalid="ignore"):  # of what is infinite, too, made again below
            mean: Floats = tile.sum(axis=0) / columns.n
        mean = np.where(np.isfinite(mean), mean, (tile / columns.n).sum(axis=0))
        found[start:stop] = np.where(np.abs(np.sign(tile).sum(axis=0)) < least, -mean, mean)
    return found


@rule(exempt={"translation": VOTES, "rotation": AXES})
def sign_majority(columns: Columns, f: int = 0) -> Floats:
    """The sign that most rows have in each coordinate, times the median of the absolute values there.

    signSGD moves each coordinate by the learning rate, whatever the values. Updates of models know no such length, so
    here the median client says how far; with that the answer grows with the rows, and one row of any size is one vote.
    A tie gives 0; values of 0 vote for neither side.

    Source: Bernstein, Zhao, Azizzadenesheli, Anandkumar, ICLR 2019, https://arxiv.org/abs/1810.05291

    >>> sign_majority(np.array([[1.0, 1.0], [2.0, -2.0], [-1e30, 0.0]]))
    array([2., 0.])
    """
    found, n = np.empty(columns.d), columns.n
    usual = OrderStatistic((n - 1) // 2, n // 2 + 1)
    for start, stop, tile in columns.tiles():
        found[start:stop] = np.sign(np.sign(tile).sum(axis=0)) * middle(np.abs(tile), usual)
    return found
