"""Data files that an analysis opens belong to its run."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.core.observer import Observer
from eventflock.core.structs import digest_file
from eventflock.errors import IncompleteError, UsageError
from eventflock.runs.folder import RunFolder
from eventflock.usercode.data_files import watch_opened


@pytest.fixture
def here(tmp_path: Path) -> Path:
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("t", {"x": "f8"})
        file["t"].extend({"x": np.arange(100.0)})
    (tmp_path / "w.json").write_text('{"w": 1.0}')
    return tmp_path


def write(path: Path, head: str, body: str) -> Path:
    path.write_text(
        "import json\nfrom pathlib import Path\nimport numpy as np\nimport eventflock as ef\n"
        f"HERE = Path(__file__).parent\n{head}\n\n"
        f'@ef.analysis(tree="t")\ndef a(events):\n    {body}\n'
    )
    return path


AT_IMPORT = 'W = json.loads((HERE / "w.json").read_text())["w"]', 'return {"s": W * len(events)}'
IN_THE_CALL = "", 'return {"s": json.loads((HERE / "w.json").read_text())["w"] * len(events)}'


def helpers(run: Path) -> dict[str, str]:
    return RunFolder(run).load_plan().plan.analysis.helpers


@pytest.mark.parametrize("code", [AT_IMPORT, IN_THE_CALL])
@pytest.mark.parametrize("pool", ["local", "inline"])
def test_a_run_is_not_continued_with_another_file(
    here: Path, code: tuple[str, str], pool: str
) -> None:
    analysis = write(here / "a.py", *code)
    run, data = here / "run", here / "w.json"
    assert ef.run(analysis, here / "a.root", jobs=4, pool=pool, out=run)["s"] == 100
    assert helpers(run) == {str(data): digest_file(data)}
    (run / "result.zip").unlink()
    (run / "results/job-000001.zip").unlink()
    data.write_text('{"w": 100.0}')
    with pytest.raises(UsageError, match=r"w\.json, which the analysis opens, changed"):
        ef.resume(run, pool=pool)
    data.write_text('{"w": 1.0}')
    assert ef.resume(run, pool=pool)["s"] == 100


def test_a_file_that_is_edited_while_jobs_run_stops_them(here: Path) -> None:
    body = (
        'w = json.loads((HERE / "w.json").read_text())["w"]\n'
        "    if len(events) and events.x[0] == 0:\n"
        """        (HERE / "w.json").write_text('{"w": 100.0}')\n"""
        '    return {"s": w * len(events)}'
    )
    analysis = write(here / "a.py", "", body)
    with pytest.raises(IncompleteError, match=r"w\.json, which the analysis opens, changed"):
        ef.run(analysis, here / "a.root", jobs=4, workers=1, out=here / "run")
    assert ef.load(here / "run")["s"] == 25


def test_only_data_of_the_user_counts(here: Path) -> None:
    """Not the events, nor code, nor what Python and the system have."""
    np.save(here / "table.npy", np.ones(3))
    with uproot.recreate(here / "scale.root") as file:
        file["t"] = {"s": np.ones(3)}
    body = (
        'import uproot\n    uproot.open(HERE / "scale.root")["t"]\n'
        '    Path("/etc/hostname").read_text()\n    (HERE / "log.txt").write_text("written")\n'
        '    np.load(HERE / "table.npy")\n    return {"n": len(events)}'
    )
    (here / "beside.py").write_text("import decimal\n")
    analysis = write(here / "a.py", "import beside", body)
    ef.run(analysis, here / "a.root", out=here / "run", workers=1)
    names = {Path(name).name for name in helpers(here / "run")}
    assert names == {"beside.py", "scale.root", "table.npy"}


def test_a_function_that_was_typed_in_may_open_data(here: Path) -> None:
    data = here / "w.json"

    @ef.analysis(tree="t")
    def typed(events: Any) -> dict[str, Any]:
        return {"s": json.loads(data.read_text())["w"] * len(events)}

    assert ef.run(typed, here / "a.root", jobs=2, out=here / "run")["s"] == 100
    assert list(helpers(here / "run")) == [str(data)]


def test_watching_sees_what_is_read(tmp_path: Path) -> None:
    read, written, apart = tmp_path / "r.txt", tmp_path / "w.txt", tmp_path / "apart.root"
    for path in (read, apart):
        path.write_text("1")
    with watch_opened([str(apart)]) as found:
        apart.read_text()
        written.write_text("2")
        os.close(os.open(read, os.O_RDONLY))
        thread = threading.Thread(target=read.read_bytes)
        thread.start()
        thread.join()
        Path(sys.executable).open("rb").close()
    (tmp_path / "late.txt").write_text("3")
    (tmp_path / "late.txt").read_text()
    assert found.read == {str(read): digest_file(read)}
    assert found.written == [str(tmp_path / "w.txt")]


def test_files_that_an_analysis_writes_are_not_lost_in_silence(here: Path) -> None:
    notes: list[str] = []

    class Notes(Observer):
        def note(self, text: str) -> None:
            notes.append(text)

    body = '(HERE / "debug.txt").write_text(str(len(events)))\n    return {"n": len(events)}'
    analysis = write(here / "a.py", "", body)
    ef.run(analysis, here / "a.root", out=here / "run", observer=Notes())
    assert f"The analysis writes {here}/debug.txt: each call writes it anew." in notes[0]
    assert (here / "debug.txt").read_text() != "0"


def test_credentials_are_no_data_of_a_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, variable in (("proxy.pem", "X509_USER_PROXY"), ("token", "BEARER_TOKEN_FILE")):
        (here / name).write_text(f"SECRET {name}")
        monkeypatch.setenv(variable, str(here / name))
    body = (
        '(HERE / "proxy.pem").read_text(), (HERE / "token").read_text()\n'
        '    (HERE / "w.json").read_text()\n    return {"n": len(events)}'
    )
    analysis = write(here / "a.py", "", body)
    ef.run(analysis, here / "a.root", out=here / "run", workers=1)
    assert list(helpers(here / "run")) == [str(here / "w.json")]
    files = [path for path in (here / "run").rglob("*") if path.is_file()]
    assert not any(b"SECRET" in path.read_bytes() for path in files)


@pytest.mark.packing
def test_files_of_a_trial_are_not_left_behind(here: Path) -> None:
    notes: list[str] = []

    class Notes(Observer):
        def note(self, text: str) -> None:
            notes.append(text)

    place = here / "debug.txt"
    # A job runs in the packed interpreter, and is the only one that may leave it.
    body = (
        f'"code/" in __file__ or Path({str(place)!r}).write_text(str(len(events)))\n'
        '    return {"n": len(events)}'
    )
    analysis = write(here / "a.py", "", body)
    packing = ef.PackOptions()
    ef.run(analysis, here / "a.root", out=here / "run", packing=packing, observer=Notes())
    assert any(f"writes files ({place}): those of jobs are not brought" in one for one in notes)
    assert not place.exists()


@pytest.mark.packing
def test_data_beside_the_analysis_is_there_on_a_node(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[Any] = []

    class Notes(Observer):
        def note(self, text: str) -> None:
            notes.append(text)

    (here / "sub").mkdir()
    (here / "sub/v.json").write_text(json.dumps({"v": 3}))
    elsewhere = here.parent / "elsewhere.json"
    elsewhere.write_text("{}")
    head = f'V = json.loads((HERE / "sub/v.json").read_text())["v"]\nE = Path({str(elsewhere)!r})'
    body = 'E.exists() and E.read_text()\n    return {"s": V * len(events)}'
    analysis = write(here / "a.py", head, body)
    result = ef.run(
        analysis, here / "a.root", packing=ef.PackOptions(), out=here / "run", observer=Notes()
    )
    assert result["s"] == 300
    assert any(f"opens {elsewhere}, which lies neither beside it" in note for note in notes)


@pytest.mark.packing
def test_data_of_the_working_folder_is_there_on_a_node(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what is opened only for events, by a name relative to the working folder."""
    (here / "code").mkdir()
    (here / "corrections/deep").mkdir(parents=True)
    (here / "corrections/v.json").write_text('{"w": 3}')
    (here / "corrections/deep/late.json").write_text('{"w": 2}')
    body = (
        'v = json.load(open("corrections/v.json"))["w"]\n'
        '    u = json.load(open("code/u.json"))["w"]\n'
        '    late = json.load(open("corrections/deep/late.json"))["w"] if len(events) else 1\n'
        '    return {"s": v * u * late * len(events)}'
    )
    analysis = write(here / "code/a.py", "", body)
    (here / "code/u.json").write_text('{"w": 5}')
    monkeypatch.chdir(here)
    result = ef.run("code/a.py", "a.root", packing=ef.PackOptions(), out=here / "run")
    assert result["s"] == 3000
    assert analysis.exists()


@pytest.mark.parametrize("name", ["w.json", "w*", "."])
def test_data_may_be_declared(here: Path, name: str) -> None:
    """What is opened only for events is not seen before."""
    late = 'return {"s": json.loads((HERE / "w.json").read_text())["w"] if len(events) else 0}'
    analysis = write(here / "a.py", "", late)
    ef.run(analysis, here / "a.root", out=here / "unseen", jobs=2)
    assert not helpers(here / "unseen")
    source = analysis.read_text().replace('tree="t"', f'tree="t", data=[{name!r}]')
    (here / "sub").mkdir()
    analysis = here / "sub/a.py" if name == "." else here / "a.py"
    if name == ".":
        (here / "w.json").rename(here / "sub/w.json")
    analysis.write_text(source)
    ef.run(analysis, here / "a.root", out=here / "run", jobs=2)
    assert helpers(here / "run") == {
        str(analysis.parent / "w.json"): digest_file(analysis.parent / "w.json")
    }
    (here / "run/results/job-000001.zip").unlink()
    (here / "run/result.zip").unlink()
    (analysis.parent / "w.json").write_text('{"w": 100.0}')
    with pytest.raises(UsageError, match="changed since the run was made"):
        ef.resume(here / "run")


def test_declared_data_that_is_not_there_is_named(here: Path) -> None:
    analysis = write(here / "a.py", "", 'return {"n": 1}')
    analysis.write_text(analysis.read_text().replace('tree="t"', 'tree="t", data=["v.json"]'))
    with pytest.raises(UsageError, match=r"declares data='v\.json', which is not in"):
        ef.run(analysis, here / "a.root", out=here / "run")
