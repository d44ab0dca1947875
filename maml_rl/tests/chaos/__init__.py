"""Faults that a run has to survive: seeded, inflicted on real processes."""
