"""What the documents for developers name is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from eventflock._version import PACKAGE

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACES = (ROOT, PACKAGE)


def names_in(path: Path) -> set[str]:
    """Collect the functions, classes and methods of a file."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            found |= {f"{node.name}.{method.name}" for method in methods}
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_are_there(document: Path) -> None:
    for name in re.findall(r"`([\w./]+\.(?:py|sh))`", document.read_text()):
        if "/" in name:
            assert any((place / name).exists() for place in PLACES), name


@pytest.mark.parametrize("document", [ROOT / "README.md", *DOCUMENTS], ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_the_walk_names_functions_that_are_there() -> None:
    stations = re.findall(r"`([\w/]+\.py): ([\w.]+)`", (ROOT / "docs/walk.md").read_text())
    assert len(stations) > 30
    for file, name in stations:
        assert name in names_in(PACKAGE / file), f"{file}: {name}"
