"""`python -m bpengine`: the command line."""

import sys

from bpengine.cli import main

if __name__ == "__main__":
    sys.exit(main())
