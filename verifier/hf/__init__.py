"""Checkpoints as Hugging Face writes them, in and out."""
