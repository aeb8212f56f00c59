"""One HTML file that shows a run: what went in, what was learnt, how it compares, and how to do it again."""
