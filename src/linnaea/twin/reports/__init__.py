"""Reports, charts and the ODD description."""
