"""Pretext tasks, one idea a file: the config, the view and the method of each stand together."""
