"""The documents name every command, option, room and target, and only those that exist."""

import json
import re

import pytest

from linnaea import cli
from linnaea.options import field_help, read_options

DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")


def commands_in(text: str) -> list[str]:
    """The lines of a document's code blocks that call `linnaea`, continued lines joined."""
    blocks = re.findall(r"```(?:bash|sh|console)?\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip().removeprefix("$ ") for line in lines if line.strip().removeprefix("$ ").startswith("linnaea ")]


@pytest.mark.parametrize("command", cli.STAGES)
def test_every_field_of_a_config_has_its_help(command):
    config_class, _ = cli.STAGES[command].load()
    assert not [name for name, text in field_help(config_class).items() if not text]
    assert read_options(config_class)


def test_the_reference_is_current(root):
    written = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == cli.reference() + "\n", "run `make docs`"


def test_the_readme_shows_every_command(root):
    lines = commands_in((root / "README.md").read_text(encoding="utf-8"))
    missing = [command for command in cli.STAGES if not any(line.startswith(f"linnaea {command} ") for line in lines)]
    assert not missing


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, "docs/models.md", "docs/pybioclip.md", "docs/training.md", "docs/twin.md"]
)
def test_the_documents_show_only_commands_and_options_that_exist(root, document):
    for line in commands_in((root / document).read_text(encoding="utf-8")):
        words = line.split("#")[0].split()[1:]
        if words[0] in ("--help", "--version", "--docs"):
            continue
        command, rest = cli.find_stage(words)
        config_class, _ = cli.STAGES[command].load()
        known = {flag for o in read_options(config_class) for flag in (*o.flags, o.negated)} | {"--help"}
        used = {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert used <= known, line


@pytest.mark.parametrize(
    "document",
    [
        *DOCUMENTS,
        "CHANGELOG.md",
        "LOG.md",
        "docs/models.md",
        "docs/photographs.md",
        "docs/pybioclip.md",
        "docs/training.md",
        "docs/twin.md",
        "docs/watch.md",
    ],
)
def test_links_between_documents_lead_somewhere(root, document):
    path = root / document
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert not [link for link in links if not (path.parent / link).exists()]


def test_the_architecture_names_every_room(root):
    text = (root / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (root / "src" / "linnaea").glob("*/__init__.py")}
    assert not [room for room in sorted(rooms) if f"`{room}/`" not in text]


def test_the_documents_name_every_target_of_the_makefile_and_no_other(root):
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):.*##", makefile, flags=re.MULTILINE)) - {"help"}
    text = "".join((root / document).read_text(encoding="utf-8") for document in DOCUMENTS)
    assert set(re.findall(r"`make ([a-z]+)|^make ([a-z]+)", text, flags=re.MULTILINE)) != set()
    mentioned = {a or b for a, b in re.findall(r"`make ([a-z]+)|^make ([a-z]+)", text, flags=re.MULTILINE)}
    assert mentioned == targets


def test_every_extra_is_explained_in_the_readme(root):
    import tomllib

    extras = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert not [extra for extra in extras if f"`[{extra}]`" not in readme]


def test_the_readme_gives_the_floor_and_the_figures_of_the_shipped_model(root):
    readme = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    bundled = root / "src" / "linnaea" / "model" / "bundled"
    floor = json.loads((bundled / "calibration.json").read_text(encoding="utf-8"))["floor"]
    assert f"floor is {floor:.2f}" in readme
    method, latest = re.findall(r"\((benchmarks/results/bundled_model_[^)]*)\)", readme)
    text = (root / method).read_text(encoding="utf-8")
    assert text.count(f"Floor {floor}.") == 3
    ablation = text.split("with the calibration as shipped")[1].split("## Without")[1]
    rows = {
        line.split(" | ")[0]: line.strip("| ").split(" | ") for line in ablation.splitlines() if line.startswith("| ")
    }
    n, wrong = rows["| unseen"][1], rows["| unseen"][-1].split()[0]
    assert f"of {n} photographs of these species, {wrong} % got a wrong species" in readme
    assert latest > method
    text = (root / latest).read_text(encoding="utf-8")
    assert text.count(f"Floor {floor}.") == 2
    shipped = text.split("with the calibration as shipped")[1].split("## ")[0]
    (familiar,) = (line.split(" | ") for line in shipped.splitlines() if line.startswith("| familiar"))
    right, family = familiar[2].split()[0], familiar[4].split()[0]
    assert (
        f"{right} % of the names given are right. Of all photographs, {family} % are named to family or finer" in readme
    )
