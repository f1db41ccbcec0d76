"""The commands `identify` and `learn`, and the watch over a folder."""
