"""The commands `identify` (a run, or a watch over folders) and `learn`."""
