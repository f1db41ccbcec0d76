"""From observations to numbers: detectability, confusion, surveys."""
