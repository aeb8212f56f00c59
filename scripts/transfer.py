"""Judge a trained backbone on labelled pictures: the same as ``embodied-ssl evaluate``.

Example: python scripts/transfer.py RUN --on SCENES
"""

import sys

from embodied_ssl.cli import main

main(["evaluate", *sys.argv[1:]])
