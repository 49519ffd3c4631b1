"""How parameters change: losses, optimiser, steps, the loop around them, checkpoints."""
