"""Tasks on what an agent does: its own motion, and what it touches."""
