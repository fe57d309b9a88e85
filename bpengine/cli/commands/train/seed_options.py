"""Options for training a network with several seeds, and for the folder of the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from bpengine.cli.output import require_writable
from bpengine.cli.whole_numbers import whole
from bpengine.errors import ConfigError

MOST: Final = 1_000  # the most seeds: each has a line of the table, and its model stays in memory


@dataclass(frozen=True, kw_only=True)
class SeedChoice:
    """The seeds to compare, and the folder of their models."""

    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            metavar="N|A,B",
            help="Train the same network by N seeds, from 0, or by these, and compare: mean, spread and best of their scores. "
            "--out keeps the best, --seed draws the split alone.  [default: one network]",
        ),
    ] = None
    out_each: Annotated[
        Path | None,
        typer.Option(
            "--out-each",
            metavar="FOLDER",
            help="With --seeds: save the model of every seed there, as seed-0.safetensors.  [default: not saved]",
        ),
    ] = None

    @property
    def numbers(self) -> list[int]:
        """The seeds, none where one network is trained, by --seed; raise ConfigError for a text that is no list of seeds."""
        if self.seeds is None:
            return []
        try:
            numbers = [whole(part, "--seeds") for part in self.seeds.split(",")]
        except ConfigError:
            raise
        except ValueError:
            raise ConfigError(
                f"--seeds requires a number of seeds, such as 5, or seeds separated by commas, such as 3,7, got "
                f"{self.seeds!r}."
            ) from None
        if len(numbers) == 1:
            return list(range(_few(numbers[0])))
        if min(numbers) < 0:
            raise ConfigError(f"--seeds requires seeds of at least 0, got {min(numbers)}.")
        if len(set(numbers)) < len(numbers):
            raise ConfigError(f"--seeds requires each seed once, got {self.seeds!r}: two fits would be equal.")
        _few(len(numbers))
        return numbers

    def check(self, others: Mapping[str, bool], out: Path | None, *, processes: int, force: bool) -> None:
        """Raise ConfigError, before any work, for options that contradict each other and files that cannot be written.

        others: options of a single fit, and whether each of them is given. out: the path of the best model.
        """
        if self.seeds is None:
            if self.out_each is not None:
                raise ConfigError(
                    "--out-each FOLDER requires --seeds, got none. --out FILE saves the model of one fit."
                )
            return
        numbers = self.numbers
        name = next((name for name, there in others.items() if there), None)
        if name is not None:
            raise ConfigError(
                f"--seeds takes no {name}, which belongs to a single fit. Drop one of them, or train each seed by --seed."
            )
        if processes > 1:
            raise ConfigError(f"--seeds requires a single process, got {processes}. Train each seed by --seed.")
        if self.out_each is not None:
            self._require_files(self.out_each, numbers, out, force=force)

    def _require_files(self, folder: Path, numbers: list[int], out: Path | None, *, force: bool) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"--out-each requires a folder, got {str(folder)!r}, which cannot be made: {error}."
            ) from None
        for path in (model_file(folder, seed) for seed in numbers):
            require_writable(path, force=force, option="--out-each")
            if out is not None and path.resolve() == out.resolve():
                raise ConfigError(f"--out-each and --out require different files, got {str(out)!r} for both.")


def model_file(folder: Path, seed: int) -> Path:
    """Return the path of the model of a seed."""
    return folder / f"seed-{seed}.safetensors"


def _few(count: int) -> int:
    if not 0 < count <= MOST:
        raise ConfigError(f"--seeds requires from 1 to {MOST:,} seeds, got {count}.")
    return count
