"""Commands beside training and evaluation, one file each."""
