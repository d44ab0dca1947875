"""Measurements of single steps of MAML, for whoever asks why it learns or not: run them by hand."""
