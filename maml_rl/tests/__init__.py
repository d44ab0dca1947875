"""Tests, named after the properties they check."""
