"""pybioclip's function `parse_args`: its command line as a namespace."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from linnaea.bioclip.commands import BioclipEmbedConfig, ListModelsConfig, ListTaxaConfig, PredictConfig
from linnaea.bioclip.ranks import BIOCLIP_MODEL_STR, Rank, ensure_tol_supported_model
from linnaea.options import UsageError, build_config

CONFIGS = {
    "predict": PredictConfig,
    "embed": BioclipEmbedConfig,
    "list-models": ListModelsConfig,
    "list-tol-taxa": ListTaxaConfig,
}


def parse_args(input_args: Sequence[str]) -> argparse.Namespace:
    """The options of a command line with pybioclip's names and defaults; what was not given is None.

    End the program with code 2 for options that do not fit together. Raise ValueError for a model without a published
    tree of life.
    """
    command, *argv = input_args
    try:
        config = build_config(f"bioclip {command}", "", CONFIGS[command], argv)
    except (UsageError, ValueError) as error:
        sys.stderr.write(f"bioclip: {error}\n")
        raise SystemExit(2) from None
    given = {key: value if value != "" else None for key, value in dataclasses.asdict(config).items()}
    if "image_file" in given:
        given["image_file"] = list(given["image_file"])
    if given.get("model") == BIOCLIP_MODEL_STR:
        given["model"] = None
    if command == "predict" and not (config.cls or config.bins):
        given |= {"rank": Rank[(config.rank or "species").upper()], "k": config.k or 5}
    if given["model"] is not None and (command == "list-tol-taxa" or isinstance(given.get("rank"), Rank)):
        ensure_tol_supported_model(given["model"])
    return argparse.Namespace(command=command, **given)
