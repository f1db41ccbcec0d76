"""Calibration and data assimilation."""
