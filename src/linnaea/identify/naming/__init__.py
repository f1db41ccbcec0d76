"""From scores to a name: labels, restrictions, priors, calibration, the decision."""
