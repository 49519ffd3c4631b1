"""How parameters change: losses, optimiser, steps, the loop around them, checkpoints.

Knows no text and no stage.
"""
