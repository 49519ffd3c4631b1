"""python -m verifier.plan: what the steps of an experiment need on devices that are not there."""
