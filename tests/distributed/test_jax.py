"""JAX on several processes gives the bits of one, whether the host or XLA exchanges."""

from __future__ import annotations

import pytest

from tests.distributed.conftest import Run
from tests.distributed.jax_cases import CASES
from tests.distributed.test_processes import parsed


@pytest.fixture(scope="session")
def alone(python: Run) -> dict[str, str]:
    """Return the results of one process, by case."""
    return parsed(python("tests.distributed.jax_cases", "host").out)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(
    ("transport", "count"),
    [("halves", 2), ("host", 2), ("host", 4), ("halves", 4), ("device", 2), ("device", 4), ("host", 3)],
)
def test_every_number_of_processes_has_the_same_bits(
    transport: str, count: int, alone: dict[str, str], processes: Run
) -> None:
    ended = processes(count, "tests.distributed.jax_cases", transport)
    assert ended.code == 0, ended.err
    lines = [
        line for line in ended.out.splitlines() if line.partition(": ")[0] in CASES
    ]  # the others are Gloo's, of all processes
    results = parsed("\n".join(lines))
    assert results == {name: alone[name] for name in results}
    assert len(results) == (len(CASES) if transport == "host" else 2)
