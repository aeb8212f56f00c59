"""``python -m embodied_ssl`` is the command line."""

from embodied_ssl.cli import main

main()
