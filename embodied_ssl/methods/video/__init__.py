"""Tasks on the order and pace of frames."""
