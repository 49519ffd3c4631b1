"""What is on disk: tables of problems, samples, labels and scores, read and written."""
