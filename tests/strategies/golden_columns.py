"""Values worked by hand for rules that look at each column by itself, and for Bulyan."""

import numpy as np
from hawthorn.strategies import bulyan, mean_around_median, rlr, sign_majority


def line(*values):
    """Rows of one number each."""
    return np.array(values, dtype=np.float64)[:, None]


VOTES = np.array([[1.0, 1, 5, 0], [2, -2, 5, 0], [3, 0, -4, 0], [6, 5, 6, -8]])

GOLDEN = [
    # median 2: distances 102, 1, 0, 4, 48
    ("mean around median", mean_around_median, line(-100, 1, 2, 6, 50), {"f": 1}, [(1 + 2 + 6 + 50) / 4]),
    ("mean around median of two fewer", mean_around_median, line(-100, 1, 2, 6, 50), {"f": 2}, [3.0]),
    ("mean around median is not the trimmed mean", mean_around_median, line(0, 1, 2, 3, 50), {"f": 1}, [1.5]),
    # median 3: distances 2, 1, 1, 3
    ("mean around the median of even n", mean_around_median, line(1, 2, 4, 6), {"f": 1}, [7 / 3]),
    ("mean around median beside 1e30", mean_around_median, line(-1e30, 1, 2, 6, 1e30), {"f": 2}, [3.0]),
    ("mean around median of f = 0 is the mean", mean_around_median, line(1, 2, 6), {"f": 0}, [3.0]),
    # median 0, and -4 and 4 are as near: half of each
    ("values as near count half", mean_around_median, line(-4, -1, 0, 2, 4), {"f": 1}, [1 / 4]),
    # in turn 30, 18, 32, 5, 20: of these 18, 20, 30 are nearest 20; Krum's first five at once would give 100/3
    ("bulyan selects anew each time", bulyan, line(1, 5, 18, 20, 30, 32, 38), {"f": 1}, [68 / 3]),
    # in turn 30, 12, 32, 9, 34, 18, 37: of these 30, 32, 34 are nearest 30. At once, or with as many neighbors
    # throughout, 50/3; their mean 173/7; of four values 33.25, of two 31; trimmed by f 24.8, by 2f 80/3
    (
        "bulyan of two",
        bulyan,
        line(1, 5, 9, 12, 18, 20, 30, 32, 34, 37, 38),
        {"f": 2},
        [32.0],
    ),
    ("bulyan of f = 0 is the mean", bulyan, line(1, 2, 6), {"f": 0}, [3.0]),
    # signs sum up to 4, 1, 2, -1
    ("rlr follows three of four", rlr, VOTES, {"f": 1}, [3.0, -1, -3, 2]),
    ("rlr of theta 2", rlr, VOTES, {"f": 1, "theta": 2}, [3.0, -1, 3, 2]),
    ("rlr of f = 0 is the mean", rlr, VOTES, {"f": 0}, [3.0, 1, 3, -2]),
    # medians of absolute values 2.5, 1.5, 5, 0
    ("the majority's sign, the median's size", sign_majority, VOTES, {"f": 1}, [2.5, 1.5, 5, 0]),
    ("a tied vote is none", sign_majority, line(-9, -1, 1, 1), {"f": 1}, [0.0]),
]
