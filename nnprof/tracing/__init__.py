"""How it is run: shape-only, recorded, and everything left as it was."""
