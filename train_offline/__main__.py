"""`torchrun --nproc-per-node 4 -m train_offline PRESET …`: the same as `arc-trm train`."""

import sys

from solver.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
