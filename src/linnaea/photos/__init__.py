"""Photographs on disk: finding them, decoding them, turning them upright."""
