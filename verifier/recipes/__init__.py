"""One file a paper: which stages, in which order, on what."""
