"""Pure functions without a better home."""
