"""Values worked by hand for the rules that are functions of the geometry."""

import math

import numpy as np
from hawthorn.strategies import (
    aksel,
    caf,
    cge,
    dnc,
    flame,
    fltrust,
    foolsgold,
    mda,
    median_of_means,
    monna,
    no_regret,
    residual_reweighting,
    smea,
)


def line(*values):
    """Rows of one number each."""
    return np.array(values, dtype=np.float64)[:, None]


TRIANGLE = np.array([[-6.0, 0], [0, 0], [6, 0], [-3, 10]])
SYBILS = np.array([[1.0, 0], [1, 0], [0.6, 0.8], [0, -1]])
DIRECTIONS = np.array([[1.0, 0.0], [3.0, 0.3], [2.0, -0.2], [-9.0, 1.0]])

GOLDEN = [
    # the median is (2, 0): squared distances 4, 5, 1, 16 + 1, and so on; the mean of the three nearest
    (
        "aksel sees rows from the median of each coordinate",
        aksel,
        np.array([[0.0, 0], [3, -2], [2, 1], [6, -1], [1, 9]]),
        {"f": 1},
        [5 / 3, -1 / 3],
    ),
    ("aksel of even n averages half of the rows", aksel, line(0, 1, 2, 90), {"f": 1}, [1.5]),
    # on the line 1, 2, 3, 4, 5 through the ranks all residuals but the last are 0: that value becomes 5, and weighs 0
    ("residual reweighting", residual_reweighting, line(4, 1, 90, 2, 3), {"f": 1}, [2.5]),
    ("residual reweighting of what is all on a line is the mean", residual_reweighting, line(1, 3, 5), {}, [3.0]),
    ("residual reweighting of two rows is their mean", residual_reweighting, line(1, 9), {}, [5.0]),
    ("cge drops the longest rows, not the farthest", cge, line(-3, 8, 9, 10), {"f": 1}, [14 / 3]),
    ("mda", mda, line(0, 4, 5, 6, 90), {"f": 2}, [5.0]),
    # 0, 1, 4 and 4, 6, 8 are both 4 wide; the sums of squares are 26 and 24
    ("mda of equal diameters takes the least spread", mda, line(0, 1, 4, 6, 8), {"f": 2}, [6.0]),
    ("mda of f = 0 is the mean", mda, line(1, 2, 9), {"f": 0}, [4.0]),
    # variances without the last row: 24 and 0; without the third: 6 and 200/9, more in sum and less at most
    ("smea looks at the top eigenvalue, not at the sum", smea, TRIANGLE, {"f": 1}, [-3.0, 10 / 3]),
    ("smea of f = 0 is the mean", smea, line(1, 2, 9), {"f": 0}, [4.0]),
    # from the mean 2: weights 1 - 4/9, 1 - 1/9, 0 give 8/13, where the variance is 40/169; the next step is the last
    ("caf", caf, line(0, 1, 5), {"f": 1}, [8 / 13]),
    ("caf of rows that are alike is that row", caf, line(3, 3, 3), {"f": 1}, [3.0]),
    ("caf of f = 0 is the mean", caf, line(1, 2, 9), {"f": 0}, [4.0]),
    ("dnc", dnc, line(0, 1, 3, 10), {"f": 1}, [4 / 3]),
    # the mean is 3.5: 10 goes and, as far from it as nobody else, 0
    ("dnc of one pass sees all rows from one mean", dnc, line(0, 1, 3, 10), {"f": 1, "c": 2.0}, [2.0]),
    # without 10 it is 4/3, and 3 goes
    ("dnc of two passes sees what is left", dnc, line(0, 1, 3, 10), {"f": 1, "niters": 2}, [0.5]),
    ("dnc rounds c f up", dnc, line(0, 1, 3, 10), {"f": 1, "c": 0.3}, [4 / 3]),
    ("dnc that keeps nobody keeps the model", dnc, line(1, 2, 3), {"f": 1, "c": 3.0}, [0.0]),
    ("dnc whose passes keep nobody keeps the model", dnc, line(1, 2, 4), {"f": 1, "niters": 3}, [0.0]),
    ("no regret leaves out what is far first", no_regret, line(0, 1, 5), {"f": 1}, [0.5]),
    # no weight may exceed 1/3, so that the variance cannot fall below 11/12: that of 0, 1, 2 is 2/3
    ("no regret keeps to the tightest neighborhood", no_regret, line(0, 1, 2, 3), {"f": 1}, [1.0]),
    # tightest are -1, 0, 1 with 2/3 and 0, 1, 1.5 with 7/18
    ("no regret of one step", no_regret, line(-1, 0, 1, 1.5), {"f": 1, "steps": 1}, [2.5 / 3]),
    ("monna", monna, line(0, 1, 2, 9), {"f": 1, "trusted": [6.0]}, [4.0]),
    # cosines 1, 1 / sqrt 2 and 0; all rows 2 long
    (
        "fltrust",
        fltrust,
        np.array([[0.0, 5], [3, 3], [-9, 0]]),
        {"trusted": np.array([0.0, 2.0])},
        [2 - math.sqrt(2), 6 - 3 * math.sqrt(2)],
    ),
    (
        "fltrust that trusts nobody keeps the model",
        fltrust,
        np.array([[-1.0, 0], [0, 0], [-2, 1]]),
        {"trusted": np.array([1.0, 0.0])},
        [0, 0],
    ),
    # largest cosines 1, 1, 0.6 and 0; the third one's 0.6 shrinks to 0.36: ln(0.64 / 0.36) + 0.5 is cut to 1.
    # Unpardoned it would weigh ln(0.4 / 0.6) + 0.5, about 0.09
    ("foolsgold pardons", foolsgold, SYBILS, {}, [0.3, -0.1]),
    # the rows all point one way, but of the sums the third does not
    ("foolsgold looks at sums", foolsgold, SYBILS[[0, 0, 0]], {"sums": SYBILS[:3]}, [1.0, 0.0]),
    ("foolsgold of rows that are all alike keeps the model", foolsgold, line(1, 2, 3), {}, [0.0]),
    # the median of all four lengths clips the second row by 1/1.2; of the three admitted ones it would be the third's
    ("flame clips to the median of all rows", flame, DIRECTIONS, {"noise": 0}, [5.5 / 3, 0.05 / 3]),
    ("median of means of n groups", median_of_means, line(0, 1, 7), {"f": 1, "groups": 3}, [1.0]),
    ("median of means of one group is the mean", median_of_means, line(0, 1, 8), {"f": 0}, [3.0]),
]
