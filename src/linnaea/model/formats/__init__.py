"""Model files: open_clip checkpoints, the hub, Linnaea's model folder."""
