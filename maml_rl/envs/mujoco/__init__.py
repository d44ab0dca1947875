"""Robots simulated by MuJoCo, which is imported with them and not before."""
