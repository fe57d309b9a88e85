"""Every attack in turn, each in a process of its own: `make attack MINUTES=30 SEED=0`.

Exit code 1 where one of them found something; each prints its seed, and how to run a case again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from random import Random

ATTACKS = ("networks", "cuda_fits", "files", "command_lines", "caches", "allocations", "interrupts", "pages", "growth")


def main() -> int:
    """Run the attacks."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of them together [8]")
    parser.add_argument("--seed", type=int, default=None, help="[drawn, and printed]")
    options = parser.parse_args()
    seed = Random().randrange(10**6) if options.seed is None else options.seed
    seconds, failed = 60.0 * options.minutes / len(ATTACKS), list[str]()
    for name in ATTACKS:
        print(f"\n{name}: {seconds:.0f} seconds, seed {seed}", flush=True)
        command = [sys.executable, "-m", f"tests.attacks.{name}", "--seconds", f"{seconds:.0f}", "--seed", str(seed)]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    print(f"\nfailures in: {', '.join(failed)}" if failed else "\nno failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
