"""Whether a solution is right: numbers, answers in text, graders. No JAX."""
