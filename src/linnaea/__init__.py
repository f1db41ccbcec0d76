"""Linnaea: open software for the living world, from photographs to names, populations and a simulated ecosystem."""

__version__ = "0.1.0"
