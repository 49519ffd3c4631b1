"""How text is produced: prompts in, completions out. Knows no stage, no table and no score."""
