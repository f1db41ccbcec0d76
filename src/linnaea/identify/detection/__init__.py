"""Which parts of which photographs to name: files of boxes, a detector's network, motion within a burst."""
