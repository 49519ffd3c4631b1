"""One file a kind of work, and the runner, which is given its stages."""
