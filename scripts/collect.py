"""Generate simulated data: the same as ``embodied-ssl simulate``.

Example: python scripts/collect.py --episodes 300 --out DATA
"""

import sys

from embodied_ssl.cli import main

if __name__ == "__main__":  # workers are started anew and import this file
    main(["simulate", *sys.argv[1:]])
