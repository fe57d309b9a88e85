"""`bpengine train` with modules of a folder in the way of those that are installed."""

import sys

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    from bpengine.cli import main

    sys.exit(main(["train", "xor"]))
