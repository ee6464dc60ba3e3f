"""Scores of how a row lies to an update of the server's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract import Floats, score
from ..evidence import History
from ..geometry import Geometry
from ..pairs import averaged
from ..rules.trust import trusted_row


@score(spread=0.1)
def trust(
    geometry: Geometry,
    f: int,
    history: History,
    *,
    trusted: Geometry | None = None,
    clients: tuple[str, ...] | None = None,
    memory: Mapping[str, Any] | None = None,
) -> tuple[Floats, dict[str, Any] | None]:
    """How little a client's updates agree with the server's own: 1 minus the cosine, 0 to 2, averaged over the rounds.

    A row of length 0, or a trusted one, has cosine 0. Averages see flipped labels and mimics among clients with unlike
    data, which no single round tells apart.

    Source of the idea: Cao, Fang, Liu, Gong, NDSS 2021, https://arxiv.org/abs/2012.13995 (FLTrust), which looks at one
    round at a time.

    >>> rows = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    >>> trust(Geometry.of(rows), f=1, trusted=Geometry.of(np.vstack([rows, [5.0, 0.0]])))
    array([0., 1., 2.])
    """
    cosines = trusted_row("trust", trusted).cosines[-1, :-1]
    over_rounds, after = averaged(cosines, 1.0, clients, memory)
    return 1 - over_rounds, after
