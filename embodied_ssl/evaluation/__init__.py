"""Transfer: what frozen features know, always beside what an untrained network and plain descriptors know."""
