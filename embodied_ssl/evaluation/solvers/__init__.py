"""Convex problems, many at once, on any device: what linear probes and support vector machines come down to."""
