"""Displays: tables, figures and analyses of the runs of some task families, found by name. See `display.py`."""
