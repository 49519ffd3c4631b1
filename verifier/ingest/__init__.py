"""Rows out of files that other programs wrote, in whatever layout."""
