"""The page, the plots, the model card, and comparisons of finished runs. No JAX."""
