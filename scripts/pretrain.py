"""Train a backbone: the same as ``embodied-ssl pretrain``.

Example: python scripts/pretrain.py rotation_photos --set data.root=PHOTOS
"""

import sys

from embodied_ssl.cli import main

main(["pretrain", *sys.argv[1:]])
