"""Inference: calibration by approximate Bayesian computation, and data assimilation by an ensemble filter.

- `abc_smc`: parameters that agree with observations.
- `ensemble_members`: the members of the ensemble. `filter_step`: one correction. `ensemble_filter`: the loop.
- `forecast_scores`: how good a forecast is.
"""
