"""Tasks that tell views of one thing from views of others."""
