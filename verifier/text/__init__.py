"""What a word problem is, as text: problems, tokenizers, the calculator, answers. No JAX here."""
