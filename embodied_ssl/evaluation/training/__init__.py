"""Training a network on labels: the classifier, the one loop, and the supervised baseline."""
