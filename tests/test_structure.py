"""The guard of the floor plan: layers, circles, sizes, and what a worker may load."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator

import pytest

import eventflock
from eventflock import api
from eventflock._version import PACKAGE

LAYERS = (
    "errors",
    "_version",
    "core",
    "failures",
    "results",
    "pickles",
    "usercode",
    "events",
    "objects",
    "rows",
    "plot",
    "notebook",
    "worker",
    "packing",
    "pools",
    "planning",
    "runs",
    "publishing",
    "api",
    "__init__",
    "cli",
    "__main__",
)
"""From the bottom to the top. A file may import its own folder, and what stands before it here."""

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}
PRINTERS = {"cli", "__main__"}
PROGRAMS = {
    "pickles.read_one",
    "cli.demo_jets",
    "packing.list_boot",
    "packing.make_sample",
    "packing.reference",
    "results.add_block",
    "rows.script",
}
"""Run by themselves, some as a user's file would be: nobody imports them, and they may print."""

IN_WORKERS = {
    "eventflock",
    "eventflock._version",
    "eventflock.core",
    "eventflock.core.manifest",
    "eventflock.core.model",
    "eventflock.core.options",
    "eventflock.core.states",
    "eventflock.core.structs",
    "eventflock.core.task",
    "eventflock.worker",
    "eventflock.worker.__main__",
    "eventflock.worker.messages",
}
"""What a worker loads before it reads its first request."""
IN_JOBS = IN_WORKERS - {"eventflock.worker.__main__"} | {
    "eventflock.core.atomic",
    "eventflock.core.edges",
    "eventflock.core.halving",
    "eventflock.core.stamp",
    "eventflock.core.tracebacks",
    "eventflock.core.units",
    "eventflock.errors",
    "eventflock.events",
    "eventflock.events.credentials",
    "eventflock.events.files",
    "eventflock.events.naming",
    "eventflock.events.open_files",
    "eventflock.events.reader",
    "eventflock.events.recovery",
    "eventflock.events.scan",
    "eventflock.events.tree_head",
    "eventflock.failures",
    "eventflock.failures.codes",
    "eventflock.results",
    "eventflock.results.accumulate",
    "eventflock.results.addition",
    "eventflock.results.format",
    "eventflock.results.keeper",
    "eventflock.results.kinds",
    "eventflock.results.skims",
    "eventflock.usercode",
    "eventflock.usercode.context",
    "eventflock.usercode.data_files",
    "eventflock.usercode.decorator",
    "eventflock.rows",
    "eventflock.rows.keeper",
    "eventflock.usercode.loading",
    "eventflock.usercode.luminosity",
    "eventflock.usercode.parameters",
    "eventflock.usercode.processors",
    "eventflock.usercode.programs",
    "eventflock.usercode.seeding",
    "eventflock.worker.calling",
    "eventflock.worker.events",
    "eventflock.worker.job_loop",
    "eventflock.worker.lumis",
    "eventflock.worker.receipt",
    "eventflock.worker.runner",
    "eventflock.worker.service",
    "eventflock.worker.watchdog",
}
"""What answers requests and does jobs, in a worker or on a node."""


def layer_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def imports_of(module: str) -> Iterator[tuple[str, int]]:
    """Yield the files of the package that a file imports, anywhere in it, with the line."""
    for node in ast.walk(MODULES[module]):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} has a relative import"
            names = [f"{node.module}.{name}" for name in names]
        for name in names:
            first, _, rest = name.partition(".")
            if first == "eventflock":
                yield file_of(rest), node.lineno


def file_of(name: str) -> str:
    """Find the file that has a name: a module, a folder's `__init__`, or what is in one of them."""
    parts = name.split(".") if name else []
    for length in range(len(parts), -1, -1):
        stem = ".".join(parts[:length])
        for candidate in (stem, f"{stem}.__init__".lstrip(".")):
            if candidate in MODULES:
                return candidate
    raise AssertionError(f"nothing in the package is called {name!r}")


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_the_layers(module: str) -> None:
    if module in PROGRAMS:
        return
    layer = layer_of(module)
    assert layer in LAYERS, f"{layer} has no place in the list of layers"
    below = {*LAYERS[: LAYERS.index(layer)], layer}
    for other, line in imports_of(module):
        assert layer_of(other) in below, f"{module}:{line} imports {other}"
        assert other not in PROGRAMS, f"{module}:{line} imports {other}"


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports inside functions count as well: a lazy circle is a circle."""
    graph = {module: {other for other, _ in imports_of(module)} - {module} for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_the_top_level_has_at_most_eight_files_and_each_folder_says_what_it_is() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 8
    for folder in (path for path in PACKAGE.rglob("*") if any(path.glob("*.py"))):
        module = ".".join([*folder.relative_to(PACKAGE).parts, "__init__"])
        said = " ".join((ast.get_docstring(MODULES[module]) or "").split())
        assert said, f"{folder} has no docstring"
        assert "Uses " in said or folder.parent != PACKAGE, f"{folder} does not say what it uses"


@pytest.mark.parametrize(
    "module", [one for one in MODULES if layer_of(one) not in PRINTERS and one not in PROGRAMS]
)
def test_only_the_command_line_prints_or_exits(module: str) -> None:
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            printing = name in {"print", "exit", "sys.exit"} or name.endswith(".print")
            assert not printing, f"{module}:{node.lineno} calls {name}"


def test_few_modules_call_the_bindings_of_htcondor() -> None:
    users = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and {
            name.split(".")[0]
            for name in [getattr(node, "module", None) or "", *(one.name for one in node.names)]
        }
        & {"htcondor2", "classad2", "htcondor", "classad"}
    }
    assert users == {f"pools.htcondor.{name}" for name in ("schedd", "match", "likely")}


def test_workers_use_only_part_of_results() -> None:
    """What a node needs is small: no verifying, merging or opening."""
    for module in (one for one in MODULES if layer_of(one) == "worker"):
        used = {other for other, _ in imports_of(module)}
        assert not used & {f"results.{name}" for name in ("merge", "verify", "result", "cover")}


def test_packing_has_no_names_of_the_standard_library() -> None:
    """Its folder comes first on the search path of the interpreter that is surveyed."""
    for module in (one for one in MODULES if layer_of(one) == "packing"):
        assert module.rpartition(".")[2] not in sys.stdlib_module_names


# --- sizes ---------------------------------------------------------------------------------------


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield module, node


def length_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_functions_stay_short() -> None:
    lengths = sorted(length_of(node) for _, node in functions())
    assert statistics.median(lengths) <= 9
    assert lengths[int(0.9 * len(lengths))] <= 25
    longest = max(functions(), key=lambda found: length_of(found[1]))
    assert lengths[-1] <= 72, f"{longest[0]}: {longest[1].name}"


def test_functions_have_few_parameters() -> None:
    for module, node in functions():
        if layer_of(module) == "cli":
            continue
        names = [posonlyarg.arg for posonlyarg in (*node.args.posonlyargs, *node.args.args)]
        names = [name for name in names if name not in {"self", "cls"}]
        count = len(names) + len(node.args.kwonlyargs)
        assert count <= 8, f"{module}:{node.lineno} {node.name} has {count} parameters"


def test_files_stay_short() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 450, path


# --- the front door ------------------------------------------------------------------------------


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter, and return the modules of the package that it has loaded."""
    code += "\nimport sys; print(*(name for name in sys.modules if name.startswith('eventflock')))"
    told = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    return set(told.stdout.split())


def test_importing_the_package_loads_nothing_else() -> None:
    assert loaded_by("import eventflock") == {"eventflock", "eventflock._version"}


def test_marking_an_analysis_loads_only_the_decorator() -> None:
    loaded = loaded_by("import eventflock as ef\n@ef.analysis\ndef f(events): return {}")
    assert "eventflock.api" not in loaded
    assert not any(name.startswith(("eventflock.pools", "eventflock.runs")) for name in loaded)


def test_workers_load_little_before_their_first_request() -> None:
    loaded = loaded_by("import eventflock.worker.__main__")
    assert loaded <= IN_WORKERS
    assert len(loaded) < 25


def test_jobs_load_only_what_a_node_needs() -> None:
    assert loaded_by("import eventflock.worker.service, eventflock.worker.runner") <= IN_JOBS


def test_files_of_the_package_name_modules_in_full() -> None:
    """`from eventflock import name` would ask the front door, which loads everything."""
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "eventflock", f"{module}:{node.lineno}"


def test_the_public_names_are_one_list() -> None:
    for name in api.__all__:
        assert getattr(eventflock, name) is getattr(api, name)
        assert name in dir(eventflock)
    assert eventflock.__all__ == api.__all__
    assert "Observer" not in dir(eventflock)
    with pytest.raises(AttributeError, match="no attribute 'Observer'"):
        eventflock.Observer  # noqa: B018
