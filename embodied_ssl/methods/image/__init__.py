"""Tasks on single pictures."""
