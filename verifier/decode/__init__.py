"""How text is produced and scored: prompts in, completions or values out."""
