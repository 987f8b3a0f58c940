"""`torchrun --nproc-per-node 4 -m train_offline PRESET …`."""

import sys

from train_offline.cli import main

if __name__ == "__main__":
    sys.exit(main())
