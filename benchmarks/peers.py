"""The peers of the benchmarks, open_clip and pybioclip, in their own virtual environment.

    python benchmarks/peers.py DIR                  # makes DIR if it is missing (1.5 GB) and prints its Python

None of it becomes a dependency of the project. torch comes from the source that pip is configured with. The build for
processors is enough; a small module makes torchvision (installed without its dependencies) load beside it.
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

# torchvision registers fake kernels for operators of its compiled part, and that part needs the CUDA build of torch. If
# the two schemas are defined first, its transforms, open_clip and pybioclip load without it.
SITECUSTOMIZE = '''"""Let torchvision load beside a torch without CUDA; see benchmarks/peers.py of Linnaea."""
import importlib.abc
import sys


class DefineOperators(importlib.abc.MetaPathFinder):
    """Define the schemas of torchvision's compiled part when torchvision is first imported."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            if torch.version.cuda is None:
                self.library = torch.library.Library("torchvision", "DEF")
                self.library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                self.library.define(
                    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                sys._torchvision_operators = self.library  # a collected Library drops its schemas
        return None


sys.meta_path.insert(0, DefineOperators())
'''


def peer_python(folder: Path) -> Path:
    """Return the Python of the peers' environment in `folder`; make and check the environment if it is missing."""
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
    """Run the command: make the environment and print the path of its Python."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the environment, made if it is missing")
    print(peer_python(parser.parse_args().folder.absolute()))


if __name__ == "__main__":
    main()
