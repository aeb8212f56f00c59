"""Methods whose labels are clusters of features: of the network's own, found anew as it learns, or of another network's."""
