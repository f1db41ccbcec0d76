"""Photographs to vectors: reading pixels, the batched loop, the choice of a runtime, the command `embed`."""
