"""Formats of the field: Camtrap DP, Darwin Core, EXIF, tables."""
