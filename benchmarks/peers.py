"""The peers that the benchmarks measure beside us, open_clip and pybioclip, in a virtual environment of their own.

    python benchmarks/peers.py DIR                  # makes DIR if need be (1.5 GB) and prints its python

Nothing of it enters the project's dependencies. torch comes as pip is configured to give it; the processor's build is
enough, and torchvision (installed without its dependencies) is taught to load beside it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"
TORCHVISION = "torchvision==0.28.0"  # the release that belongs to that torch
PEERS = ("open_clip_torch==3.3.0", "pybioclip==2.1.6")
STAMP = ".peers"

# torchvision registers fake kernels for operators that its compiled part defines, and that part wants the CUDA build of
# torch. With the two schemas defined first, its transforms, open_clip and pybioclip load without it.
SITECUSTOMIZE = '''"""Lets torchvision load beside a torch without CUDA; see benchmarks/peers.py of Linnaea."""
import importlib.abc
import sys


class DefineOperators(importlib.abc.MetaPathFinder):
    """Defines the schemas that torchvision's compiled part would, at the moment torchvision is first asked for."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            if torch.version.cuda is None:
                self.library = torch.library.Library("torchvision", "DEF")
                self.library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                self.library.define(
                    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                sys._torchvision_operators = self.library  # a Library that is collected takes its schemas along
        return None


sys.meta_path.insert(0, DefineOperators())
'''


def peer_python(folder: Path) -> Path:
    """The python of the peers' environment in `folder`, which is made and checked if it is not there."""
    python = folder / "bin" / "python"
    if (folder / STAMP).exists() and (folder / STAMP).read_text() == _wanted():
        return python
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*install, TORCH], check=True)
    subprocess.run([*install, "--no-deps", TORCHVISION], check=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE)
    subprocess.run([*install, *PEERS, TORCH, TORCHVISION], check=True)
    subprocess.run([python, "-c", "import open_clip, bioclip.predict"], check=True)
    (folder / STAMP).write_text(_wanted())
    return python


def _wanted() -> str:
    return "\n".join([TORCH, TORCHVISION, *PEERS, SITECUSTOMIZE])


def main() -> None:
    """The command: makes the environment and prints the path of its python."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the environment is or shall be")
    print(peer_python(parser.parse_args().folder.absolute()))


if __name__ == "__main__":
    main()
