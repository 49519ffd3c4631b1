"""Packed batches of tokens out of problems and solutions."""
