"""Virtual sensors in the simulated world."""
