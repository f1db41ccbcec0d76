"""Scoring a vector among a million taxa, and the nearest vectors: exact and approximate."""
