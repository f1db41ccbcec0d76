"""From samples to augmented batches in a fixed order."""
