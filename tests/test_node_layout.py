"""What runs on a node before anything can be imported agrees with `worker/node_layout.py`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from eventflock.packing import boot, sitecustomize
from eventflock.worker import node_layout as layout

LAUNCHER = layout.LAUNCHER.read_text()
STARTER = Path(boot.__file__).with_name("start.sh").read_text()


def test_the_launcher_ends_with_the_same_statuses() -> None:
    statuses = dict(re.findall(r"^(UNSUITABLE|DIED)=(\d+)$", LAUNCHER, re.MULTILINE))
    assert statuses == {"UNSUITABLE": str(layout.UNSUITABLE), "DIED": str(layout.DIED)}


def test_the_launcher_reads_the_same_members_of_the_archives() -> None:
    members = set(re.findall(r'tar -xOf "\$environment" (\S+)', LAUNCHER))
    assert members == {layout.DEMANDS, layout.BOOT, layout.REST}
    assert set(re.findall(r"tar -xOf - (\S+)", LAUNCHER)) == {layout.CODE_DEMANDS}


def test_the_launcher_knows_the_same_places() -> None:
    made_by_itself = {
        "bin", "bin/python", "bin/python3", "bin/start", "tmp", "$bundled", "$program",
        "ready", "refused", "headers/bin", "setup.log", "native/legacy.so", "whole", "$folder", "$",
        ".eventflock",
    }  # fmt: skip
    places = set(re.findall(r"\$(?:root|1)/([\w./]*\w|\$\w*)", LAUNCHER + STARTER)) - made_by_itself
    assert places == {
        layout.GLIBC,
        layout.NATIVE,
        layout.PACKAGES,
        layout.BOOT_PROGRAM,
        layout.START_PROGRAM,
        str(Path(layout.FRONT).parent),
        layout.HEADERS,
        layout.CERTIFICATES,
        layout.SETUP,
    }


def test_the_interpreter_looks_for_packages_in_the_same_folders() -> None:
    assert sitecustomize.BUNDLES == layout.BUNDLES
    source = Path(sitecustomize.__file__).read_text()
    folders = [
        ast.literal_eval(node.iter)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple)
        if all(isinstance(element, ast.Constant) for element in node.iter.elts)
    ]
    assert folders == [(layout.CODE_PACKAGES, layout.PACKAGES)]


def test_zstandard_is_looked_for_among_the_packages() -> None:
    source = Path(boot.__file__).read_text()
    assert re.findall(r"\{root\}/(\w+)", source) == [layout.PACKAGES]
