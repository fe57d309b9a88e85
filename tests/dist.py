"""Build the sdist and the wheel, and try both as users get them: `python -m tests.dist` (`make dist-check`).

Each is installed into a new environment with nothing but what it needs, and pytest. There, away from this checkout, the first
commands are run, and the smoke part of the tests as the sdist has them. `python -m tests.dist --here` runs the smoke part here
(`make smoke`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SMOKE = (
    "tests/test_model.py",
    "tests/test_network.py",
    "tests/test_ops.py",
    "tests/examples",
    "tests/cli/test_entry.py",
)  # tests that need only what a plain install brings: the engine, the command line, the worked examples
COMMANDS = (
    ("--version",),
    ("demo", "--epochs", "1"),
    ("examples", "mazur_222"),
    ("explain", "2-3-1", "--data", "xor", "--layer", "0", "--unit", "2", "--lang", "pt"),
    ("explain", "2-3-1", "--data", "xor", "--steps", "3", "--html", "xor.html"),
)
PACKAGES = ("bpengine", "backends")  # what tests must find installed, not beside them


def build(folder: Path) -> tuple[Path, Path]:
    """Build into an empty folder; return the sdist and the wheel."""
    run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], ROOT)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def unpacked(sdist: Path, folder: Path) -> Path:
    """Unpack an sdist and return the folder that is in it."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / sdist.name.removesuffix(".tar.gz")


def installed(artifact: Path, environment: Path) -> Path:
    """Install an sdist or a wheel, and pytest, into a new environment; return its folder of programs."""
    run([sys.executable, "-m", "venv", str(environment)], ROOT)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    requirement = f"bpengine[smoke] @ {artifact.as_uri()}"
    run([str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement], ROOT)
    return programs


def tried(programs: Path, folder: Path) -> Iterator[list[str]]:
    """Run what an install must be able to do, and yield each command."""
    for arguments in COMMANDS:
        yield run([str(programs / "bpengine"), *arguments], folder)
    yield run([str(programs / "python"), "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *SMOKE], folder)


def run(command: list[str], folder: Path) -> list[str]:
    """Run a command without this checkout on its path; end with its exit code when it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    print("$", *command, flush=True)
    ended = subprocess.run(command, cwd=folder, env=environment, check=False)
    if ended.returncode:
        sys.exit(f"{command[0]} ended with {ended.returncode}")
    return command


def main() -> None:
    """Build, install and try both."""
    folder = ROOT / "build" / "dist-check"
    shutil.rmtree(folder, ignore_errors=True)
    artifacts = build(folder / "dist")
    for artifact in artifacts:
        work = unpacked(artifacts[0], folder / f"beside-{artifact.suffix[1:]}")
        for package in PACKAGES:
            shutil.rmtree(work / package)
        count = len(list(tried(installed(artifact, folder / artifact.suffix[1:]), work)))
        print(f"{artifact.name}: {count} commands and tests went well")


if __name__ == "__main__":
    if sys.argv[1:] == ["--here"]:
        sys.exit(subprocess.run([sys.executable, "-m", "pytest", *SMOKE], cwd=ROOT, check=False).returncode)
    main()
