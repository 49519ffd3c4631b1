"""Measurements of speed and memory beside what a user would take instead.

Run by hand; the product imports nothing from here.
"""
