"""Bodies, pushes, and what the answers mean."""
