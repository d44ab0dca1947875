"""Memories that policies read and write."""
