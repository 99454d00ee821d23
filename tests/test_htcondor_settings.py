"""Settings for HTCondor: what was meant gets there, or is refused with what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventflock.core.options import SubmitOptions
from eventflock.errors import UsageError
from eventflock.pools.htcondor.paths import own_bytes
from eventflock.pools.htcondor.settings import Settings, amend, read_settings

HERE = Path("/")
"""A folder without files of ours, for what does not need any."""


def said(*lines: str, folder: Path = HERE) -> Settings:
    return read_settings(SubmitOptions(submit=lines), folder)


def commands(*lines: str) -> dict[str, str]:
    return said(*lines).commands


def refusal(*lines: str, site: SubmitOptions | None = None, folder: Path = HERE) -> str:
    with pytest.raises(UsageError) as caught:
        read_settings(site or SubmitOptions(submit=lines), folder)
    return str(caught.value)


def table(folder: Path, text: str, name: str = "eventflock.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


# --- attributes ----------------------------------------------------------------------------------


def read_string(text: str) -> str:
    """Read a ClassAd string as HTCondor does in a submit description.

    A backslash before a quote makes the quote a part of the string; any other is itself.
    """
    assert text[0] == text[-1] == '"'
    inside, found = text[1:-1], ""
    while inside:
        if inside.startswith('\\"'):
            inside = inside[1:]
        else:
            assert inside[0] != '"', "the string ends early"
        found, inside = found + inside[0], inside[1:]
    return found


LEFT_ALONE = re.compile(
    r'[-+]?[0-9.]+([eE][-+]?[0-9]+)?|true|false|".*"|\(.*\)', re.IGNORECASE | re.DOTALL
)


texts = st.text() | st.text(alphabet="ab1.-+eE \\\"()$'#,=\n\té", max_size=12)


@given(texts)
@example("atlas-org-uchicago")
@example('a"b')
@example('a\\"b')
@example('"a" "b"')
@example("a\\nb")
@example("(a)+(b)")
@example("007")
def test_any_text_is_refused_or_is_the_attribute_that_was_meant(text: str) -> None:
    try:
        expression = commands(f"+Foo={text}")["+Foo"]
    except UsageError:
        return
    meant = text.strip(" ")
    assert "\n" not in expression
    assert not expression.endswith("\\")
    if expression == meant:
        assert LEFT_ALONE.fullmatch(meant)
    else:
        assert read_string(expression) == meant


@given(st.text(alphabet="abc XYZ.-/:é\\\"'#,=;%&|", min_size=1).filter(lambda one: one.strip(" ")))
def test_plain_text_is_a_string_that_the_bindings_read_back(text: str) -> None:
    classad2 = pytest.importorskip("classad2")
    if text.strip(" ").endswith("\\") or text.strip(" ").startswith('"'):
        return
    expression = commands(f"+Foo={text}")["+Foo"]
    # A submit description has the older of HTCondor's two syntaxes. They differ in backslashes.
    read = classad2.parseOne(f"Foo = {expression}\nBar = 1\n", classad2.ParserType.Old)
    assert read["Foo"] == text.strip(" ")
    if "\\" not in text:
        assert classad2.ExprTree(expression).eval() == text.strip(" ")


@pytest.mark.parametrize(
    "text",
    [
        *("0", "3", "-3", "+3", "1.5", ".5", "1e3", "-1.5E+3", "9223372036854775807"),
        *("true", "False", '""', '"a"', r'"a\"b"', r'"C:\dir\"'),
        *("(RequestCpus * 2)", '("(" == ")")', "((a) + (b))"),
    ],
)
def test_expressions_stay(text: str) -> None:
    assert commands(f"+Foo={text}") == {"+Foo": text}


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("atlas-org-uchicago", '"atlas-org-uchicago"'),
        ("5.", '"5."'),
        ("007", '"007"'),
        ("1_000", '"1_000"'),
        ("(a) + (b)", '"(a) + (b)"'),
        ("two words", '"two words"'),
        ('say "hi"', r'"say \"hi\""'),
        ("a\\b", r'"a\b"'),
        ("  spaces  ", '"spaces"'),
        ("truely", '"truely"'),
    ],
)
def test_other_text_is_a_string(text: str, expression: str) -> None:
    assert commands(f"+Foo={text}") == {"+Foo": expression}


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "9" * 5000])
def test_a_number_that_would_become_zero_is_refused(text: str) -> None:
    assert "64 bits" in refusal(f"+Foo={text}")


@pytest.mark.parametrize("name", ["Cmd", "iwd", "TransferOutput", "EventflockWave", "JobUniverse"])
def test_attributes_of_ours_are_refused(name: str) -> None:
    assert "eventflock or HTCondor sets" in refusal(f"+{name}=1")


# --- values --------------------------------------------------------------------------------------


@given(st.text(alphabet='abc 01.-+"()=<>&|!?:,$%é\\', min_size=1))
def test_an_ordinary_value_is_refused_or_as_it_was(text: str) -> None:
    try:
        found = commands(f"requirements={text}")["requirements"]
    except UsageError:
        return
    assert found == text.strip(" ")


@given(st.sampled_from(["+Foo", "rank"]), st.text(max_size=3), st.text(max_size=3))
@example("rank", "a", "b")
@pytest.mark.parametrize(
    "bad", ["\n", "\r", "\0", "\x1f", "\t", "\x7f", "\x85", "\u2028", "\ud800"]
)
def test_what_a_line_cannot_have_is_refused(bad: str, name: str, before: str, after: str) -> None:
    words = refusal(f"{name}={before}{bad}{after}")
    assert "cannot be written in a submit description" in words
    assert bad not in words.split(": ", 1)[1].replace("\n", "", 1) or bad == "\n"


@pytest.mark.parametrize(
    "text",
    [
        *("$(Cluster)", "$(ClusterId).$(Process)", "x$(procid)", "$(DOLLAR)(HOME)"),
        *("$$(Memory)", "$$(OpSys:LINUX)", "$$([Memory / 2])", "a$b", "cost: 5$", "^a$|b$"),
    ],
)
def test_macros_that_mean_something_stay(text: str) -> None:
    assert commands(f"description={text}") == {"description": text}


@pytest.mark.parametrize(
    "text",
    [
        *("$(HOME)", "a$(x", "$ENV(HOME)", "$Fnx(a.txt)", "$INT(Cluster)", "$CHOICE(0,a,b)"),
        *("$$$(Cluster)", "$(Cluster:3)", "$( Cluster )", "$(Item)", "$$(a b)", "$(Clusters)"),
        *("$(DOLLAR)$(DOLLAR)(a)", "$(DOLLAR)(DOLLAR)", "$(DOLLAR)$$(Memory)", "$$(x:$(y))"),
    ],
)
@pytest.mark.parametrize("name", ["description", "+Foo"])
def test_macros_that_would_be_replaced_are_refused(name: str, text: str) -> None:
    words = refusal(f"{name}={text}")
    assert "$(DOLLAR)" in words
    assert f"--submit: {name}={text}: " in words


def test_the_remedy_for_a_macro_is_the_text_itself() -> None:
    assert "write '$(DOLLAR)ENV(HOME)'." in refusal("description=$ENV(HOME)")
    assert commands("description=$(DOLLAR)ENV(HOME)")


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_value_is_refused(text: str) -> None:
    assert "variable of the shell" in refusal(f"requirements={text}")
    assert "+Foo='\"\"'" in refusal(f"+Foo={text}")


def test_a_backslash_at_the_end_is_refused() -> None:
    assert "goes on" in refusal("description=a\\")
    assert "goes on" in refusal("+Foo=a\\ ")


@pytest.mark.parametrize("name", ["request_memory", "request_disk"])
@pytest.mark.parametrize(
    "text",
    [
        *("2", "2G", "2 GB", "1.5gb", ".5T", "2048M", "100KB", "undefined", "MY.Wanted"),
        *("2 * 1024", "ifThenElse(MemoryUsage isnt undefined, MemoryUsage * 2, 2000)"),
        *("MemoryUsage =!= undefined ? 2 * MemoryUsage : 2000", "(Wanted)", "1000 + $(Process)"),
    ],
)
def test_amounts_that_htcondor_takes(name: str, text: str) -> None:
    assert commands(f"{name}={text}") == {name: text}


@pytest.mark.parametrize("name", ["request_memory", "request_disk"])
@pytest.mark.parametrize(
    "text",
    [
        *("2 gigs", "2GiB", "2P", "2,000", "-5", "lots", '"2GB"', "2 G B", "2 +", "(2", "2)"),
        *("f(2,)", "$$(Memory)", "2 GB + 1 GB", "two gigs"),
    ],
)
def test_amounts_that_are_none(name: str, text: str) -> None:
    words = refusal(f"{name}={text}")
    assert f"{name}={text}" in words
    assert "2 GB" in words


def test_numbers_of_cores_and_tries() -> None:
    assert commands("request_cpus=4", "max_retries=0") == {"request_cpus": "4", "max_retries": "0"}
    for line in ("request_cpus=0", "request_cpus=1.5", "request_cpus=-1", "request_cpus=max"):
        assert "from 1 on" in refusal(line)
    for line in ("max_retries=-1", "max_retries=1.5", "max_retries=many"):
        assert "0 or more" in refusal(line)


def test_universes() -> None:
    for name in ("vanilla", "Container", "docker"):
        assert commands(f"universe={name}") == {"universe": name}
    for one in ("local", "grid", "parallel", "5"):
        assert "vanilla, container, docker" in refusal(f"JobUniverse={one}")


# --- names ---------------------------------------------------------------------------------------

OURS = """
executable arguments args arguments2 initialdir iwd initial_dir job_iwd input output stdout error
stderr log user_log queue should_transfer_files when_to_transfer_output transfer_output_files
transfer_output_remaps transfer_executable transfer_output transfer_error max_materialize max_idle
success_exit_code retry_until getenv on_exit_remove leave_in_queue stdin schedd TransferOutputFiles
"""


@pytest.mark.parametrize("name", OURS.split())
def test_what_eventflock_sets_is_refused(name: str) -> None:
    words = refusal(f"{name.title()}=x")
    first, remedy = words.split("\n")
    assert first.startswith(f"--submit: {name.title()}=x: ") or name in first
    assert first.endswith(".")
    assert remedy.endswith(".")


def test_getenv_says_what_to_do() -> None:
    assert "[htcondor.environment] NAME" in refusal("getenv=True")
    assert commands('environment="A=1"') == {"environment": '"A=1"'}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("request_memry", "request_memory"),
        ("requests_cpus", "request_cpus"),
        ("request_gpu", "request_gpus"),
        ("requirments", "requirements"),
        ("acounting_group", "accounting_group"),
        ("memory", "request_memory"),
        ("JobFlavour", "+JobFlavour"),
        ("scheddd", "schedd"),
    ],
)
def test_a_misspelt_command_is_refused(name: str, meant: str) -> None:
    assert f"did you mean {meant!r}?" in refusal(f"{name}=2")


@pytest.mark.parametrize(
    "name", ["LongJob", "rucio_oauth_permissions", "request_fpgas", "http_container_port", "a.b"]
)
def test_a_command_of_a_site_passes(name: str) -> None:
    assert commands(f"{name}=2") == {name: "2"}


@pytest.mark.parametrize("name", ["hold", "periodic_remove", "periodic_hold", "notification"])
def test_commands_of_the_user_pass(name: str) -> None:
    assert commands(f"{name}=true") == {name: "true"}


@pytest.mark.parametrize(
    "name", ["", "request-cpus", "2x", "+", "MY.", "+a.b", "MY.+a", "a b", "é", "+ Foo", "--x"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    assert "is not a name" in refusal(f"{name}=2")


def test_what_has_no_value_is_refused() -> None:
    assert "'request_cpus' is not NAME=VALUE" in refusal("request_cpus")


@given(st.permutations(["+Foo", "+foo", "MY.Foo", "my.FOO"]))
def test_the_last_of_one_name_counts(names: list[str]) -> None:
    found = commands(*(f"{name}={number}" for number, name in enumerate(names)))
    assert found == {f"+{re.sub('(?i)my.|[+]', '', names[-1])}": "3"}


@pytest.mark.parametrize("name", ["REQUEST_CPUS", "RequestCpus", "request_cpus ", " Request_Cpus"])
def test_names_of_one_command_are_one(name: str) -> None:
    assert commands("request_cpus=2", f"{name}= 3") == {"request_cpus": "3"}


# --- sources -------------------------------------------------------------------------------------


def test_the_call_wins_over_the_table_and_the_table_over_the_profile(tmp_path: Path) -> None:
    table(
        tmp_path,
        """
        [htcondor]
        Profile = "mine"
        schedd = "from-table"
        Request_CPUs = 2
        rank = "Memory"
        MY.Flag = true
        [htcondor.profiles.mine]
        schedd = "from-profile"
        collector = "from-profile"
        max_idle = 7
        request_cpus = 1
        RANK = 0.5
        hold = true
        "+Project" = "top-quark"
        """,
    )
    found = read_settings(SubmitOptions(submit=("request_cpus=3",)), tmp_path)
    assert found == Settings(
        schedd="from-table",
        collector="from-profile",
        max_idle=7,
        commands={
            "request_cpus": "3",
            "rank": "Memory",
            "hold": "true",
            "+Project": '"top-quark"',
            "+Flag": "true",
        },
    )
    call = SubmitOptions(schedd="s", collector="c", spool=True)
    found = read_settings(call, tmp_path)
    assert (found.schedd, found.collector, found.spool) == ("s", "c", True)
    assert read_settings(SubmitOptions(profile="minicondor"), tmp_path).collector == ""


def test_nothing_said_is_nothing_set(tmp_path: Path) -> None:
    assert read_settings(SubmitOptions(), tmp_path) == Settings()


def test_the_nearest_file_counts(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    table(tmp_path, "[htcondor]\nmax_idle = 1\n")
    table(inner, "[tool.other]\nx = 1\n[tool.eventflock]\ny = 1\n", "pyproject.toml")
    assert read_settings(SubmitOptions(), inner).max_idle == 1
    table(tmp_path / "a", "[tool.eventflock.htcondor]\nmax_idle = 2\n", "pyproject.toml")
    assert read_settings(SubmitOptions(), inner).max_idle == 2
    table(tmp_path / "a", "[htcondor]\nmax_idle = 3\n")
    assert read_settings(SubmitOptions(), inner).max_idle == 3
    table(inner, "")
    assert read_settings(SubmitOptions(), inner).max_idle == 1000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[htcondor\n", "is not TOML"),
        ('[htcondor]\n+JobFlavour = "longlunch"\n', '"+JobFlavour" = '),
        ("htcondor = 3\n", "htcondor is not a table"),
        ("[[htcondor]]\n", "htcondor is not a table"),
        ("request_cpus = 3\n", "request_cpus stands outside of a table"),
        ("[htcondr]\nrequest_cpus = 3\n", "Did you mean [htcondor]?"),
        ("[htcondor]\nmax_idle = -1\n", "max_idle is -1"),
        ("[htcondor]\nmax_idle = true\n", "max_idle is True"),
        ("[htcondor]\nmax_idl = 1\n", "did you mean 'max_idle'?"),
        ('[htcondor]\nspool = "yes"\n', "spool is 'yes'"),
        ("[htcondor]\nschedd = 3\n", "schedd is 3"),
        ("[htcondor]\nprofiles = 3\n", "profiles is 3"),
        ("[htcondor.profiles]\nmine = 3\n", "tables [htcondor.profiles.NAME]"),
        ("[htcondor]\nrequest_cpus = [1]\n", "not [1]"),
        ('[htcondor]\nrequest_cpus = ["1"]\n', "request_cpus is not a list"),
        ("[htcondor]\nrank = 2024-01-01\n", "expected a text"),
        ("[htcondor]\nrank = inf\n", "expected a text"),
        ("[htcondor.other]\nrank = 1\n", "expected a text"),
        ('[htcondor]\nrank = """a\nb"""\n', "cannot be written"),
        ('[htcondor]\nuse_oauth_services = ["a,b"]\n', "has a comma"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = table(tmp_path, text)
    found = refusal(folder=tmp_path)
    assert words in found
    assert str(path) in found


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "eventflock.toml").write_bytes(b"\xff")
    assert "is not TOML" in refusal(folder=tmp_path)
    (tmp_path / "eventflock.toml").unlink()
    (tmp_path / "eventflock.toml").mkdir()
    assert "cannot be read" in refusal(folder=tmp_path)


def test_values_of_toml(tmp_path: Path) -> None:
    table(
        tmp_path,
        """
        [htcondor]
        requirements = 'OpSysAndVer =?= "AlmaLinux9"'
        use_oauth_services = ["rucio", "osdf"]
        request_cpus = 2
        nice_user = true
        rank = 1e16
        "+Id" = "12a"
        "+Share" = 0.25
        "+Wanted" = '"quoted"'
        """,
    )
    assert read_settings(SubmitOptions(), tmp_path).commands == {
        "requirements": 'OpSysAndVer =?= "AlmaLinux9"',
        "use_oauth_services": "rucio, osdf",
        "request_cpus": "2",
        "nice_user": "true",
        "rank": "1e+16",
        "+Id": '"12a"',
        "+Share": "0.25",
        "+Wanted": '"quoted"',
    }


# --- profiles ------------------------------------------------------------------------------------


def test_profiles_that_are_shipped() -> None:
    assert read_settings(SubmitOptions(profile="CERN"), HERE).commands == {
        "+JobFlavour": '"longlunch"'
    }
    assert read_settings(SubmitOptions(profile="minicondor"), HERE).commands == {
        "request_cpus": "1"
    }
    site = SubmitOptions(profile="cern", submit=("MY.JobFlavour=tomorrow",))
    assert read_settings(site, HERE).commands == {"+JobFlavour": '"tomorrow"'}


def test_a_profile_says_what_it_needs(tmp_path: Path) -> None:
    words = refusal(site=SubmitOptions(profile="ospool"), folder=tmp_path)
    assert "needs +ProjectName" in words
    assert "--submit '+ProjectName=VALUE'" in words
    table(tmp_path, '[htcondor]\nprofile = "ospool"\n"MY.projectname" = "top-quark"\n')
    assert read_settings(SubmitOptions(), tmp_path).commands == {"+projectname": '"top-quark"'}


def test_a_profile_that_is_not_there_is_refused(tmp_path: Path) -> None:
    words = refusal(site=SubmitOptions(profile="cerm"))
    assert "--profile: there is no profile 'cerm'; did you mean 'cern'?" in words
    assert "cern, minicondor, ospool" in words
    path = table(tmp_path, '[htcondor]\nprofile = "x"\n[htcondor.profiles.y]\n')
    words = refusal(folder=tmp_path)
    assert f"{path}: there is no profile 'x'" in words
    assert "cern, minicondor, ospool, y" in words


def test_a_profile_of_the_user_takes_the_place_of_one_that_is_shipped(tmp_path: Path) -> None:
    table(tmp_path, "[htcondor.profiles.Cern]\nrequest_cpus = 4\n")
    assert read_settings(SubmitOptions(profile="cern"), tmp_path).commands == {"request_cpus": "4"}


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("a.txt", "b.txt", "sub/a.txt", "sub/c.txt", "with,comma", "other/$(X).txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    return tmp_path


def test_inputs_are_found(files: Path) -> None:
    found = said(
        f"transfer_input_files= a.txt,{files}/b.txt , osdf:///x/y.root,a.txt", folder=files
    )
    assert found.inputs == (f"{files}/a.txt", f"{files}/b.txt", "osdf:///x/y.root")
    assert found.commands == {}
    assert said("TransferInputFiles=sub/", folder=files).inputs == (f"{files}/sub/",)


def test_inputs_of_a_table_are_relative_to_it(files: Path) -> None:
    table(files, '[htcondor]\ntransfer_input_files = ["a.txt", "sub/c.txt"]\n')
    inner = files / "sub"
    assert read_settings(SubmitOptions(), inner).inputs == (f"{files}/a.txt", f"{files}/sub/c.txt")
    assert said("transfer_input_files=c.txt", folder=inner).inputs == (f"{inner}/c.txt",)
    table(inner, "[htcondor]\ntransfer_input_files = []\n")
    assert read_settings(SubmitOptions(), inner).inputs == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a.tx", "did you mean 'a.txt'"),
        ("nowhere/a.txt", "No such file"),
        ("a.txt,sub/a.txt", "both 'a.txt'"),
        ("a.txt,http://host/x/a.txt?token=1", "both 'a.txt'"),
        ("a.txt,sub/", "both 'a.txt'"),
        ("with,comma", "comma in its name"),
        ("other/", "is not"),
        ("other/$(X).txt", "would replace"),
        ("https://host/$(File)", "would replace"),
        ("template.json", "No such file"),
        ("https://host/template.json", "a file of eventflock"),
        ("~nobody-of-this-name/x", "no home folder"),
    ],
)
def test_inputs_that_would_not_arrive_are_refused(files: Path, value: str, words: str) -> None:
    if value == "other/":  # a folder whose contents HTCondor sends, whatever they are called
        assert said(f"transfer_input_files={value}", folder=files).inputs == (f"{files}/other/",)
        return
    assert words in refusal(f"transfer_input_files={value}", folder=files)


def test_a_folder_with_a_comma_is_refused(files: Path) -> None:
    folder = files / "x,y"
    folder.mkdir()
    (folder / "z").write_text("")
    assert "comma in its name" in refusal("transfer_input_files=z", folder=folder)
    table(files, '[htcondor]\ntransfer_input_files = ["with,comma"]\n')
    assert "has a comma" in refusal(folder=files)


@pytest.mark.parametrize("name", ["$(X)", "$ENV(HOME)", "$$(Memory)", "$(Cluster)"])
def test_a_folder_that_htcondor_would_replace_is_refused(files: Path, name: str) -> None:
    folder = files / name
    folder.mkdir()
    (folder / "z").write_text("")
    for command in ("transfer_input_files", "x509userproxy", "container_image"):
        assert "would replace" in refusal(f"{command}=z", folder=folder)
    assert said("transfer_input_files=a$b", folder=table(files, "", "a$b").parent).inputs


def test_a_proxy_is_found(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(files))
    for value in ("a.txt", "~/a.txt", f"{files}/a.txt"):
        found = said(f"X509UserProxy={value}", folder=files)
        assert found.commands == {"x509userproxy": f"{files}/a.txt"}
    assert "did you mean 'a.txt'" in refusal("x509userproxy=~/a.text", folder=files)


def test_public_files_and_plugins_are_found(files: Path) -> None:
    name = "a.txt"
    told = said(f"public_input_files={name}, https://a/b", folder=files).commands
    assert told["public_input_files"] == f"{files / name}, https://a/b"
    told = said(f"transfer_plugins=s3,gs={name} ; x = {name}", folder=files).commands
    assert told["transfer_plugins"] == f"s3,gs = {files / name}; x = {files / name}"
    assert "No such file" in refusal("transfer_plugins=x=nowhere.py", folder=files)
    assert "a plugin is KIND=PATH" in refusal("transfer_plugins=plugin.py", folder=files)
    with pytest.raises(UsageError, match="No such file"):
        said("public_input_files=nowhere.json", folder=files)


def test_the_size_of_files_of_the_user(files: Path) -> None:
    (files / "some").mkdir()
    (files / "some/a").write_bytes(b"x" * 1000)
    (files / "image.sif").write_bytes(b"x" * 500)
    told = said("transfer_input_files=some, https://a/b", folder=files)
    assert own_bytes(told.inputs, told.commands) == 1000
    image = {"container_image": str(files / "image.sif")}
    assert own_bytes(told.inputs, image) == 1500
    assert own_bytes(told.inputs, {**image, "transfer_container": "False"}) == 1000
    assert own_bytes((), {"container_image": "docker://debian"}) == 0


def test_a_later_call_is_put_over_what_was_said(files: Path) -> None:
    name = "a.txt"
    first = said("request_memory=1GB", "My_Own=1", "+A=1", folder=files)
    first = msgspec.structs.replace(first, inputs=("/a",), schedd="there", max_idle=7)

    def amended(*lines: str, profile: str = "") -> Settings:
        return amend(first, SubmitOptions(submit=lines, profile=profile), files)

    assert amended("RequestMemory=4GB", "my_own=2", "+B=2").commands == {
        "request_memory": "4GB",
        "my_own": "2",
        "+A": "1",
        "+B": "2",
    }
    assert amended("request_cpus=2").inputs == ("/a",)
    assert amended(f"transfer_input_files={name}").inputs == (str(files / name),)
    table(
        files,
        """
        [htcondor]
        request_cpus = 9
        max_idle = 3
        [htcondor.profiles.big]
        required = ["+A"]
        request_disk = "9GB"
        spool = true
    """,
    )
    told = amended(profile="big")
    assert (told.schedd, told.max_idle, told.spool) == ("there", 7, True)
    assert told.commands == {**first.commands, "request_disk": "9GB"}  # +A was said before
    with pytest.raises(UsageError, match="did you mean"):
        amended("request_memry=4GB")
    with pytest.raises(UsageError, match="ProjectName, which is not set"):
        amended(profile="ospool")


def test_an_image_is_found_where_it_is_a_file(files: Path) -> None:
    for value in ("docker://python:3.11", "/cvmfs/images/x.sif"):
        assert said(f"container_image={value}").commands == {"container_image": value}
    found = said("container_image=a.txt", folder=files)
    assert found.commands == {"container_image": f"{files}/a.txt"}
    assert "No such file" in refusal("container_image=x.sif", folder=files)


# --- complaints ----------------------------------------------------------------------------------


def test_all_complaints_come_at_once(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        '[htcondor]\nrequest_memory = "2 gigs"\nmax_idle = -1\nrank = "$(x)"\nlog = "x"\n',
    )
    site = SubmitOptions(
        profile="ospol", submit=("request_cpus=none", "rank=Memory", "a b=1", "+Cmd")
    )
    first, *lines, last = refusal(site=site, folder=tmp_path).split("\n")
    assert first == "7 settings for HTCondor are wrong:"
    assert len(lines) == 7
    assert all(line.startswith("  ") for line in lines)
    assert any(f"{path}: request_memory=2 gigs: " in line for line in lines)
    assert any("--submit: request_cpus=none: " in line for line in lines)
    assert not any("rank" in line for line in lines)  # it was replaced
    assert last == "Nothing was submitted."


def test_a_long_value_is_cut_in_a_complaint() -> None:
    words = refusal("rank=$(" + "x" * 1000)
    assert len(words) < 400
    assert "..." in words


@given(st.lists(st.text(max_size=20), max_size=4))
def test_any_words_give_settings_or_a_usage_error(lines: list[str]) -> None:
    try:
        found = said(*lines)
    except UsageError:
        return
    for name, text in found.commands.items():
        assert re.fullmatch(r"\+?[A-Za-z_][A-Za-z0-9_.]*", name)
        assert text == text.strip(" ") != ""
        assert text.isprintable() or not set(text) & set("\r\n\0\x1f")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("OpSysAndVer = Debian13", "one '=' does not compare"),
        ('(OpSysAndVer == "Debian13"', "no expression of HTCondor. It has 1 '(' and 0 ')'."),
        ("Memory >", "no expression of HTCondor"),
        ("two words", "no expression of HTCondor"),
    ],
)
def test_requirements_that_htcondor_cannot_read(text: str, words: str) -> None:
    assert words in refusal(f"requirements={text}")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "true",
            "HasSingularity",
            "(HasSingularity)",
            "!HasGPU",
            'a == "x = y"',
            "a =?= 1 && b =!= 2",
        ),
        *("x >= 3 || y <= 4", 'regexp("^a$", Name)', "$$(Memory) > 3", "Disk > 1 ? true : false"),
    ],
)
def test_requirements_that_it_can(text: str) -> None:
    assert commands(f"requirements={text}") == {"requirements": text}
