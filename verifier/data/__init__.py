"""What is on disk: word problems by name of their source, tables of samples, labels and scores, and packed batches of tokens."""
