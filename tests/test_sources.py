"""Which sources a package looks for as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflock.packing.sources import looked_for

INIT, DEEP, MODULE, WORKER = (
    f"packages/tool/{name}"
    for name in ("__init__.py", "plugins/deep/one.py", "plugins/two.py", "worker.py")
)
ALL = frozenset({INIT, DEEP, MODULE, WORKER, "packages/tool/plugins/__init__.py"})
PLUGINS = frozenset({DEEP, MODULE, "packages/tool/plugins/__init__.py"})


def looked(folder: Path, **texts: str) -> tuple[frozenset[str], frozenset[str]]:
    files = {}
    for name in ALL:
        files[name] = folder / name
        files[name].parent.mkdir(parents=True, exist_ok=True)
        files[name].write_text("import os\n")
    for key, text in texts.items():
        files[{"init": INIT, "module": MODULE, "deep": DEEP}[key]].write_text(text)
    found = looked_for(files)
    return found.files, found.folders


@pytest.mark.parametrize(
    ("module", "stay"),
    [
        ("import os\nVALUE = 1\n", frozenset()),
        ("import glob\nfiles = glob.glob('*.root')\n", frozenset()),
        ("for one in os.listdir(os.path.dirname(__file__)):\n    print(one)\n", PLUGINS),
        ("mods = [p for p in Path(__file__).parent.iterdir()]\n", PLUGINS),
        ("for root in __path__:\n    os.walk(root)\n", PLUGINS),
        ("Path(__file__).parent.parent.rglob('*.py')\n", ALL),
        ("os.listdir(os.path.join(os.path.dirname(__file__), '..'))\n", ALL),
        ("os.listdir(os.path.dirname(os.path.dirname(__file__)))\n", ALL),
        ("import tool\nos.scandir(tool.__path__[0])\n", ALL),
        ("import numba\n@numba.njit(cache=True)\ndef f(x): return x\n", frozenset({MODULE})),
        ("from tool import njit\n@njit(cache=True)\ndef f(x): return x\n", frozenset({MODULE})),
        ("with open(__file__) as file:\n    text = file.read()\n", frozenset({MODULE})),
        ("from functools import x\n@x(cache=True)\ndef f(x): return x\n", frozenset()),
        ("subprocess.run([sys.executable, HERE / 'worker.py'])\n", frozenset({WORKER})),
        ('open(f"{here}/worker.py")\n', frozenset({WORKER})),
    ],
)
def test_what_stays_a_file(tmp_path: Path, module: str, stay: frozenset[str]) -> None:
    assert looked(tmp_path, module=module)[0] == stay


def test_folders_from_which_paths_start(tmp_path: Path) -> None:
    text = "data = Path(__file__).parent / 'table.json'\n"
    assert looked(tmp_path, module=text) == (frozenset(), frozenset({"packages/tool/plugins"}))


@given(st.dictionaries(st.sampled_from(["init", "module", "deep"]), st.text()))
def test_any_text_is_read(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str]) -> None:
    texts = {key: text.encode(errors="replace").decode() for key, text in texts.items()}
    files, folders = looked(tmp_path_factory.mktemp("any"), **texts)
    assert files <= ALL
    assert folders <= {name.rpartition("/")[0] for name in ALL}
