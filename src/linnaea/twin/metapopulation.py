"""Patches and islands as mean-field systems: Levins, and the number of species of an island."""

from __future__ import annotations

from linnaea.twin.system import MeanField, Node


def levins(colonization: float, extinction: float, start: float = 0.01) -> MeanField:
    """The share p of patches that are occupied: dp/dt = c p (1 − p) − e p, which comes to 1 − e/c where c > e, else to
    0.
    """
    node = Node(name="occupied", start=start, growth=colonization, capacity=1.0, mortality=extinction)
    return MeanField(nodes=(node,), density_unit="share of patches")


def island(pool: int, immigration: float, extinction: float, start: float = 0.0) -> MeanField:
    """The species S on an island: dS/dt = I (1 − S/P) − E S/P, which comes to I P / (I + E).

    I is the rate of new species on an empty island, E that of extinctions where all P of the pool are there. ValueError
    for an empty pool.
    """
    if pool < 1:
        raise ValueError(f"pool of {pool} species: an island is colonised from at least one; give a larger pool")
    node = Node(name="species", start=start, immigration=immigration, mortality=(immigration + extinction) / pool)
    return MeanField(nodes=(node,), density_unit="species")
