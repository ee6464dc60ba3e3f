"""Values worked by hand for rules that look at signs, layers, output neurons or earlier rounds."""

import numpy as np
from hawthorn.strategies import alignins, deepsight, flanders, fldetector, lasa, signguard


def line(*values):
    """Rows of one number each."""
    return np.array(values, dtype=np.float64)[:, None]


SPARSE = np.array([[2.0, 2, 1, 0, 0], [2, 2, 0, 1, 0], [2, 2, 0, 0, 1], [-2, -2, 1, 0, 0]])
BEFORE = [{"a": [1.0], "b": [2.0], "c": [3.0]}]

GOLDEN = [
    # lengths 3, 3, 3, 3 and 12, which is more than three times the median; signs ++- three times, and --+
    (
        "signguard keeps usual lengths and signs",
        signguard,
        np.array([[2.0, 2, -1], [2, 1, -2], [1, 2, -2], [-2, -2, 1], [8, 8, -4]]),
        {"f": 2},
        [5 / 3, 5 / 3, -5 / 3],
    ),
    (
        "signguard shortens to the median length",
        signguard,
        np.array([[2.0, 2, -1], [2, 1, -2], [2, 4, -4]]),
        {"f": 1},
        [5 / 3, 5 / 3, -5 / 3],
    ),
    ("signguard drops a length below a tenth", signguard, line(1, 1, 0.05, 1), {"f": 1}, [1.0]),
    # all lengths are 3; two of five values become zero. The last row has a third of positive values, the others all
    ("lasa in one layer", lasa, SPARSE, {"f": 1, "sparsity": 0.4}, [2, 2, 1 / 3, 1 / 3, 1 / 3]),
    # in the second layer it is as usual as the others
    (
        "lasa in two layers",
        lasa,
        SPARSE,
        {"f": 1, "sparsity": 0.4, "bounds": (0, 2, 5)},
        [2, 2, 2 / 4, 1 / 4, 1 / 4],
    ),
    ("lasa of two values", lasa, SPARSE, {"f": 1, "sparsity": 0.6}, [2, 2, 0, 0, 0]),
    # cosines 1, 1, 1, -1; the row of twice the length is shortened to the median of those kept, 3 * sqrt 2
    (
        "alignins",
        alignins,
        np.array([[3.0, 3, 0], [3, 3, 0], [6, 6, 0], [-3, -3, 0]]),
        {"f": 1, "sparsity": 0.7, "model": np.array([1.0, 1.0, 0.0])},
        [3, 3, 0],
    ),
    # of 3 neurons of the second layer all change alike in four rows, and one alone in the last, which is a suspect
    (
        "deepsight looks at the output layer",
        deepsight,
        np.array([[4.0, 1, -1, 1]] * 4 + [[4, 2, 0, 0]]),
        {"f": 1, "bounds": (0, 1, 4)},
        [4, 1, -1, 1],
    ),
    # surprises 0, 0, 0, 3 and 4
    (
        "fldetector",
        fldetector,
        line(1, 2, 3, 4, 5),
        {"f": 2, "past": (line(1, 2, 3, 1, 1), line(1))},
        [2.0],
    ),
    # the present change is what is foreseen: the moves 1 and 2 say that the model's move grew by 2 - 1 per 1 moved, and
    # since it moved by 2 the rows have grown by 2, but for the last one's
    (
        "fldetector foresees changes",
        fldetector,
        line(3, 4, 5, 6, 4),
        {"f": 1, "past": (line(1, 2, 3, 4, 4), line(2, 1))},
        [18 / 4],
    ),
    (
        "fldetector leaves out the f worst",
        fldetector,
        line(1, 2.1, 2.9, 8, 9),
        {"f": 1, "past": (line(1.1, 2, 3, 1, 1), line(1))},
        [14 / 4],
    ),
    ("fldetector of a first round", fldetector, line(1, 2, 9), {"f": 1}, [4.0]),
    # after one round each is foreseen where it was: surprises 0.5, 0 and 6
    (
        "flanders leaves out the f that surprise most",
        flanders,
        line(1.5, 2, 9),
        {"f": 1, "clients": ("a", "b", "c"), "memory": BEFORE},
        [1.75],
    ),
    # by identity, whatever the order of the rows; a stranger is foreseen where the median client was, at 2
    (
        "flanders goes by identity",
        flanders,
        line(2, 1, 2.4),
        {"f": 1, "clients": ("b", "c", "stranger"), "memory": BEFORE},
        [2.2],
    ),
    ("flanders of a first round", flanders, line(1, 2, 9), {"f": 1, "clients": ("a", "b", "c")}, [4.0]),
]
