"""The directions of imports, which keep the parts apart."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import eventflock

ROOT = Path(eventflock.__file__).parent
MODULES = sorted(str(one.relative_to(ROOT).with_suffix("")) for one in ROOT.rglob("*.py"))

ALLOWED = {
    "_version": set(),
    "errors": set(),
    "model": set(),
    "files": set(),
    "observe": {"errors"},
    "options": {"model"},
    "tracebacks": set(),
    "analysis": {"errors"},
    "finding": {"analysis", "errors", "model", "tracebacks"},
    "reading": {"errors", "model"},
    "dataset": {"errors", "model"},
    "plan": {"errors", "model"},
    "units": {"errors"},
    "forecast": {"errors", "model", "reading", "units"},
    "measuring": {
        "errors",
        "forecast",
        "model",
        "observe",
        "plan",
        "pools",
        "results",
        "units",
        "worker",
    },
    "pieces": {"model"},
    "causes": {"model"},
    "recovery": {"causes", "model", "pieces"},
    "rundir": {"errors", "files", "model", "pieces", "results"},
    "sample": {"errors", "files"},
    "plot": {"errors", "files", "plot"},
    "inspecting": {"errors", "model", "reading"},
    "results": {"errors", "files", "model", "pieces", "results"},
    "worker": {
        "_version",
        "analysis",
        "errors",
        "finding",
        "model",
        "pieces",
        "reading",
        "results",
        "tracebacks",
        "units",
        "worker",
    },
    "env": {"env", "errors", "files", "finding", "model", "reading", "worker"},
    "pools": {
        "causes",
        "env",
        "errors",
        "files",
        "model",
        "observe",
        "pieces",
        "pools",
        "reading",
        "results",
        "worker",
        "tracebacks",
    },
}
"""What each part may import of the others. Parts that are not named may import all but `cli`."""


def imported(module: str) -> set[str]:
    """Give the parts of ours that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / f"{module}.py").read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "eventflock" and len(parts) > 1:
                found.add(parts[1])
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    part = module.split("/", maxsplit=1)[0]
    wrong = imported(module) - ALLOWED.get(part, imported(module) - {"cli"})
    if part not in {"cli", "__main__"}:
        assert not wrong


@pytest.mark.parametrize(
    "module", [one for one in MODULES if one.split("/")[0] not in {"cli", "__main__"}]
)
def test_only_the_command_line_prints_or_exits(module: str) -> None:
    for node in ast.walk(ast.parse((ROOT / f"{module}.py").read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in {"print", "sys.exit", "exit"}, f"line {node.lineno}"


def test_workers_use_only_part_of_results() -> None:
    """What a node needs is small: no verifying, merging or opening."""
    for module in MODULES:
        if module.startswith("worker/"):
            text = (ROOT / f"{module}.py").read_text()
            for other in ("merge", "verify", "result", "cover"):
                assert f"eventflock.results.{other} " not in text


def test_only_two_modules_call_the_bindings_of_htcondor() -> None:
    users = {
        module
        for module in MODULES
        for node in ast.walk(ast.parse((ROOT / f"{module}.py").read_text()))
        if isinstance(node, ast.Import)
        and {alias.name for alias in node.names} & {"htcondor2", "classad2", "htcondor"}
    }
    assert users == {"pools/htcondor/schedd", "pools/htcondor/match"}
