"""How long it takes: estimated, replayed, and run for real."""
