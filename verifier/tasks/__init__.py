"""Word problems by the name of their source."""
