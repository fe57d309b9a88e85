"""The public workflows: each job calls targets that the Makefile has, with no more rights than it needs, on every version."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / ".github").rglob("*.yml")}
EVERY = pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def steps(workflow: Any) -> list[Any]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def commands(workflow: Any) -> list[str]:
    return [step["run"] for step in steps(workflow) if "run" in step]


def called(workflow: Any) -> set[str]:
    return {command.split()[1] for command in commands(workflow) if command.startswith("make ")}


@EVERY
def test_a_job_runs_targets_of_the_makefile(workflow: Any) -> None:
    assert called(workflow)
    assert called(workflow) <= set(TARGETS)
    for command in commands(workflow):
        assert command.startswith("make ") or command == "choco install make --no-progress --yes", command


@EVERY
def test_a_workflow_may_only_read(workflow: Any) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in workflow["jobs"].values())


@EVERY
def test_an_action_is_of_a_stated_major_version_and_keeps_no_password(workflow: Any) -> None:
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), step
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"] == {"persist-credentials": False}


@EVERY
def test_every_job_has_a_time_limit(workflow: Any) -> None:
    assert all(job["timeout-minutes"] <= 180 for job in workflow["jobs"].values())


def test_every_promised_target_runs_in_a_workflow() -> None:
    assert {"test", "smoke", "demo", "docs", "dist-check"} <= called(WORKFLOWS["ci.yml"])
    assert {"test-all", "audit", "attack"} <= called(WORKFLOWS["weekly.yml"])


def test_every_version_of_python_that_is_promised_is_tried_on_every_system() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert promised[0] == project["requires-python"].removeprefix(">=")
    jobs = WORKFLOWS["ci.yml"]["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == promised
    assert jobs["smoke"]["strategy"]["matrix"] == {"system": ["macos-latest", "windows-latest"], "python": promised}


def test_pre_commit_calls_the_tools_of_make_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nlint:")[1].split("\n\n")[0]
    wanted = [line.strip().removeprefix("$(BIN)/") for line in recipe.splitlines()[1:]]
    called_by_hooks = [hook["entry"].removeprefix(".venv/bin/") for hook in hooks]
    assert called_by_hooks == [
        command.replace(" --check .", "").replace("ruff check .", "ruff check") for command in wanted
    ]
