"""The commands `twin …`."""
