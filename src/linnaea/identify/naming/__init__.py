"""From scores to a name: labels, candidates, priors, calibration, the decision."""
