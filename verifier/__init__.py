"""Train a generator and a token-level verifier for grade-school maths, and find the best of many
sampled solutions.
"""
