"""The machine under a run: files that are whole, paths, processes, memory, what is said."""
