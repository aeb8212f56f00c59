"""Measures the toolkit beside what people use today, with the figures that speak against it in the same table."""
