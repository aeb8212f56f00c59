"""A value for every pixel: maps of frozen networks, the heads on them, and how their answers are judged."""
