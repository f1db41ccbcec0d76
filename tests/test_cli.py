import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaea import __version__, cli, options
from linnaea.model.core.contract import ModelCard, Preprocess
from linnaea.model.formats.model_folder import WEIGHT_FILES, write_config
from linnaea.model.graphs.text_transformer import TextConfig

STAGE = '''
from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Shared:
    verbose: bool = False
    "say more"


@dataclass(frozen=True, kw_only=True)
class FakeConfig(Shared):
    """Counts leaves."""

    paths: tuple[Path, ...] = field(metadata={"positional": True, "metavar": "PATH"})
    "files or folders"
    out: Path | None = field(default=None, metadata={"short": "-o"})
    "where to write"
    rank: str = field(default="auto", metadata={"choices": ("auto", "species", "genus")})
    "which rank, "
    "at 100 % of the tree"
    colour: Literal["red", "green"] = "red"
    "a colour"
    top: int = 1
    "how many"
    floor: float = 0.5
    "a floor"
    within: tuple[str, ...] = ()
    "taxa to stay in"
    near: tuple[float, float] | None = field(default=None, metadata={"metavar": "LAT,LON"})
    "a place"
    progress: bool = True
    "show progress"
    resume: bool = False
    "carry on"
    inner: dict = field(default_factory=dict, metadata={"cli": False})

    def __post_init__(self):
        if self.top < 1:
            raise ValueError(f"top {self.top} is below 1")


def main(config):
    """Keeps what it was given, and fails as `colour` and `out` ask."""
    main.seen = config
    kind = str(config.out or "")
    if kind == "interrupt" or config.within == ("interrupt",):
        raise KeyboardInterrupt
    if kind == "value":
        raise ValueError("unknown taxon 'Felix';\\n did you mean Felis?")
    if kind == "file":
        open("/nowhere/at/all.csv")
    if kind == "torch":
        raise ModuleNotFoundError("No module named 'torch'", name="torch.nn")
    if kind == "bug":
        raise ModuleNotFoundError("No module named 'linnaea.nothing'", name="linnaea.nothing")
    if kind == "three":
        return 3
'''


@pytest.fixture
def fake(tmp_path, monkeypatch):
    (tmp_path / "fake_stage.py").write_text(STAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "fake_stage", raising=False)
    monkeypatch.setattr(
        cli,
        "STAGES",
        {
            "count": cli.Stage(module="fake_stage", config="FakeConfig", help="count leaves"),
            "measure leaves": cli.Stage(module="fake_stage", config="FakeConfig", help="measure leaves"),
            "measure roots": cli.Stage(module="fake_stage", config="FakeConfig", help="measure roots"),
        },
    )
    monkeypatch.delenv("LINNAEA_TRACEBACK", raising=False)


def seen(*argv):
    """The Config that the stage got."""
    assert cli.main(["count", *argv]) == 0
    return sys.modules["fake_stage"].main.seen


def complaint(capsys, *argv):
    """The single line on stderr of a command line that ends with 2."""
    assert cli.main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err.strip()


def test_what_is_left_out_keeps_the_configs_own_default(fake):
    config = seen("a.jpg")
    assert config.paths == (Path("a.jpg"),)
    assert (config.out, config.rank, config.top, config.floor, config.within) == (None, "auto", 1, 0.5, ())
    assert (config.near, config.progress, config.resume, config.inner) == (None, True, False, {})


def test_every_type_of_field_reads_its_argument(fake):
    config = seen(
        "a b.jpg",
        "-o",
        "t.csv",
        "--rank",
        "genus",
        "--colour=green",
        "--top",
        "3",
        "--floor",
        "1e-3",
        "--within",
        "Aves",
        "--within=Felidae",
        "--near",
        "2.5, -34",
        "--no-progress",
        "--resume",
        "--verbose",
    )
    assert config.paths == (Path("a b.jpg"),)
    assert (config.out, config.rank, config.colour, config.top, config.floor) == (
        Path("t.csv"),
        "genus",
        "green",
        3,
        1e-3,
    )
    assert config.within == ("Aves", "Felidae")
    assert config.near == (2.5, -34.0)
    assert (config.progress, config.resume, config.verbose) == (False, True, True)


def test_files_and_options_mix_in_any_order(fake):
    config = seen("a.jpg", "--top", "2", "b.jpg", "--resume", "c.jpg", "--", "--odd-name.jpg", "-x")
    assert [str(path) for path in config.paths] == ["a.jpg", "b.jpg", "c.jpg", "--odd-name.jpg", "-x"]
    assert (config.top, config.resume) == (2, True)


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_a_place_may_begin_with_a_minus(lat, lon):
    option = options.Option(
        field="near",
        flags=("--near",),
        negated="",
        metavar="LAT,LON",
        convert=str,
        takes_value=True,
        repeats=False,
        required=False,
        default=None,
        help="",
    )
    place = f"{lat},{lon}"
    assert options.arrange(["--near", place, "x.jpg"], [option], "p") == [f"--near={place}", "--", "x.jpg"]


def test_an_unknown_option_names_the_nearest_even_where_something_else_is_missing(fake, capsys):
    line = complaint(capsys, "count", "--toop", "3")
    assert line == "linnaea count: unknown option '--toop'; did you mean --top?"
    assert "--help" in complaint(capsys, "count", "a.jpg", "--zzzzzz")
    assert "'-q'" in complaint(capsys, "count", "a.jpg", "-q")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--rank", "specie"], ["--rank", "'specie'", "species"]),
        (["--colour", "blue"], ["--colour", "'blue'", "red", "green"]),
        (["--top", "many"], ["--top", "'many'", "whole number"]),
        (["--top", "0"], ["top 0"]),
        (["--floor", "low"], ["--floor", "'low'"]),
        (["--near", "Uppsala"], ["--near", "'Uppsala'", "LAT,LON"]),
        (["--near", "1,2,3"], ["--near", "'1,2,3'", "LAT,LON"]),
        (["--top"], ["--top", "needs a value"]),
        (["--top", "--resume"], ["--top", "needs a value"]),
        (["--resume=yes"], ["--resume"]),
    ],
)
def test_a_wrong_value_is_named_in_one_line(fake, capsys, argv, words):
    line = complaint(capsys, "count", "a.jpg", *argv)
    assert all(word in line for word in words), line


def test_a_missing_argument_is_named(fake, capsys):
    assert "PATH" in complaint(capsys, "count")


def test_a_word_too_many_is_named():
    @dataclass(frozen=True, kw_only=True)
    class Name:
        name: str = field(metadata={"positional": True})
        "a name"

    @dataclass(frozen=True, kw_only=True)
    class Nothing:
        top: int = 1
        "how many"

    assert options.build_config("p", "", Name, ["Felis catus"]).name == "Felis catus"
    with pytest.raises(options.UsageError, match="unexpected argument 'catus'; quote"):
        options.build_config("p", "", Name, ["Felis", "catus"])
    with pytest.raises(options.UsageError, match="unexpected argument 'Felis'; it takes options only"):
        options.build_config("p", "", Nothing, ["Felis", "--top", "3"])


def test_an_unknown_command_names_the_nearest(fake, capsys, tmp_path):
    assert complaint(capsys, "cuont") == "linnaea: unknown command 'cuont'; did you mean count?"
    assert "leaves" in complaint(capsys, "measure", "leafs")
    assert "leaves, roots" in complaint(capsys, "measure")
    assert "choose one of count, measure" in complaint(capsys, "qqqqq")
    assert "--version" in complaint(capsys, "--versoin")
    photo = tmp_path / "photo.jpg"
    photo.touch()
    assert f"linnaea identify {photo}" in complaint(capsys, str(photo))


def test_a_task_of_two_words_reaches_its_stage(fake):
    assert cli.main(["measure", "roots", "x"]) == 0
    assert sys.modules["fake_stage"].main.seen.paths == (Path("x"),)


def test_errors_that_a_user_can_cause_are_one_line(fake, capsys):
    assert complaint(capsys, "count", "a", "-o", "value") == "linnaea: unknown taxon 'Felix'; did you mean Felis?"
    assert complaint(capsys, "count", "a", "-o", "file") == "linnaea: No such file or directory: '/nowhere/at/all.csv'"


def test_a_missing_extra_is_named_and_a_missing_part_of_our_own_is_raised(fake, capsys):
    assert "linnaea[train]" in complaint(capsys, "count", "a", "-o", "torch")
    with pytest.raises(ModuleNotFoundError):
        cli.main(["count", "a", "-o", "bug"])


def test_an_error_is_raised_whole_when_a_traceback_is_asked_for(fake, monkeypatch):
    monkeypatch.setenv("LINNAEA_TRACEBACK", "1")
    with pytest.raises(ValueError, match="Felix"):
        cli.main(["count", "a", "-o", "value"])


def test_an_interrupt_ends_with_130_and_names_resume(fake, capsys):
    assert cli.main(["count", "a", "-o", "interrupt"]) == 130
    assert "--resume" in capsys.readouterr().err


def test_an_interrupt_without_a_file_to_go_on_from_promises_nothing(fake, capsys):
    for out in ([], ["-o", "-"]):
        assert cli.main(["count", "a", "--within", "interrupt", *out]) == 130
        assert "--resume" not in capsys.readouterr().err


def test_a_stages_own_exit_code_is_kept(fake):
    assert cli.main(["count", "a", "-o", "three"]) == 3


def test_a_stage_gets_what_only_the_command_line_may_fetch(fake, monkeypatch):
    stage = cli.Stage(
        module="fake_stage",
        config="FakeConfig",
        help="count leaves",
        complete=lambda config: replace(config, inner={"moggy": "species:Felis catus"}),
    )
    monkeypatch.setitem(cli.STAGES, "count", stage)
    assert seen("a.jpg").inner == {"moggy": "species:Felis catus"}


@pytest.fixture
def cats(tmp_path, monkeypatch):
    """A vocabulary of two cats without a common name."""
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("linnaea.taxonomy.common_names.EXTRAS", {})
    path = tmp_path / "cats.csv"
    path.write_text("kingdom,family,genus,species\nAnimalia,Felidae,Felis,catus\nAnimalia,Felidae,Panthera,leo\n")
    return str(path)


def test_taxon_knows_the_common_names_of_the_bundled_model(cats, tmp_path, monkeypatch, capsys):
    (tmp_path / "model").mkdir()
    monkeypatch.setattr("linnaea.model.loading.BUNDLED_DIR", tmp_path / "model")
    assert cli.main(["taxon", "Tabby", "--vocabulary", cats]) == 1  # no bundled model, and still an answer
    assert capsys.readouterr().out.startswith("unknown taxon 'Tabby'")

    card = ModelCard(
        name="m",
        hash="",
        dim=8,
        logit_scale=1.0,
        preprocess=Preprocess(),
        common_names={"tabby": "species:Felis catus"},
    )
    write_config(tmp_path / "model", card, TextConfig(n_tokens=9, context=9, width=8, n_layers=1, n_heads=1, dim=8))
    for name in WEIGHT_FILES:
        (tmp_path / "model" / name).touch()
    assert cli.main(["taxon", "Tabby", "--vocabulary", cats]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Felis catus (species, tabby)\n  found by its common name\n")
    assert cli.main(["taxon", "Felis catus", "--vocabulary", cats]) == 0
    assert capsys.readouterr().out.startswith("Felis catus (species, tabby)\n")


def test_help_shows_each_fields_string_and_default(fake, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["count", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "Counts leaves.",
        "files or folders",
        "--no-progress",
        "at 100 %",
        "(default: auto)",
        "LAT,LON",
        "say more",
    ):
        assert words in text, words
    assert "inner" not in text


def test_the_reference_holds_every_command_and_option(fake, capsys):
    assert cli.main(["--docs"]) == 0
    text = capsys.readouterr().out
    assert text.count("## linnaea ") == 3
    assert "| `-o, --out PATH` |  | where to write |" in text
    assert "| `--within TEXT` (repeatable) |  | taxa to stay in |" in text
    assert "| `PATH` | required | files or folders |" in text
    assert "| `--rank {auto,species,genus}` | auto | which rank, at 100 % of the tree |" in text
    assert "| `--progress, --no-progress` | on | show progress |" in text


COMPLETE = """
source /dev/stdin
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_shtab_linnaea
echo "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ((), "count measure"),
        (("cou",), "count"),
        (("measure", ""), "leaves roots"),
        (("measure", "roots", "--to"), "--top"),
        (("count", "--rank", ""), "auto species genus"),
        (("count", "a.jpg", "--colour", "g"), "green"),
        (("count", "phot"), "photo.jpg"),
        (("count", "--out", "phot"), "photo.jpg"),
    ],
)
def test_bash_completes_commands_options_choices_and_files(fake, capsys, tmp_path, words, completed):
    pytest.importorskip("shtab")
    (tmp_path / "photo.jpg").touch()
    assert cli.main(["--print-completion", "bash"]) == 0
    script = capsys.readouterr().out
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", "linnaea", *(words or ("",))],
        input=script,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=30,
        check=False,
    )
    assert done.stdout.split() == completed.split(), done.stderr


def test_completion_needs_a_known_shell_and_its_extra(fake, capsys, monkeypatch):
    assert "did you mean bash" in complaint(capsys, "--print-completion", "bahs")
    assert "choose one of bash, zsh" in complaint(capsys, "--print-completion")
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert "linnaea[completion]" in complaint(capsys, "--print-completion=zsh")


def test_a_stage_without_its_extra_is_completed_without_options(fake, capsys, monkeypatch):
    pytest.importorskip("shtab")
    monkeypatch.setitem(cli.STAGES, "count", cli.Stage(module="no_such_extra", config="X", help="count leaves"))
    assert cli.main(["--print-completion", "zsh"]) == 0
    assert "count" in capsys.readouterr().out


def test_a_field_that_no_option_can_hold_is_refused():
    @dataclass(frozen=True, kw_only=True)
    class Odd:
        table: dict
        "a table"

    with pytest.raises(TypeError, match=r"Odd\.table"):
        options.read_options(Odd)


def test_the_overview_lists_every_command(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    for command, stage in cli.STAGES.items():
        assert f"  {command} " in text
        assert stage.help in text
    assert cli.main(["evaluate", "--help"]) == 0
    text = capsys.readouterr().out
    assert "evaluate zeroshot" in text
    assert "identify" not in text


def test_the_version_is_the_packages(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"linnaea {__version__}\n"


def test_python_m_linnaea_is_the_command(root):
    done = subprocess.run(
        [sys.executable, "-m", "linnaea", "idnetify"],
        capture_output=True,
        text=True,
        cwd=root / "src",
        check=False,
        timeout=300,
    )
    assert done.returncode == 2
    assert "identify" in done.stderr


@pytest.mark.parametrize("arguments", [["many"], ["--help"]])
def test_a_reader_that_goes_away_leaves_no_complaint(root, arguments):
    script = (
        "import sys\nfrom linnaea import cli\n"
        "def main(config):\n    for _ in range(100000): print('x' * 100)\n"
        "class Stage:\n    help = 'x' * 100000\n    def load(self): return dict, main\n"
        "    def complete(self, config): return config\n"
        "cli.STAGES['many'] = Stage()\n"
        "cli.build_config = lambda *a: None\n"
        f"sys.exit(cli.main({arguments!r}))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root / "src"
    )
    process.stdout.readline()
    process.stdout.close()
    # communicate would read from stdout, which is closed
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
