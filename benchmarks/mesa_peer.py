"""Mesa, the peer of twin_speed.py, in its own virtual environment.

    python benchmarks/mesa_peer.py DIR              # makes DIR if it is missing and prints its Python

None of it becomes a dependency of the project. 3.3.1 is the newest Mesa for Python 3.11.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

MESA = "mesa==3.3.1"
PACKAGES = (MESA, "numpy==2.4.6", "scipy==1.17.1")
STAMP = ".mesa-peer"
MODELS = Path(__file__).resolve().parent / "mesa_models.py"


def mesa_python(folder: Path) -> Path:
    """Return the Python of Mesa's environment in `folder`; make the environment if it is missing."""
    python, stamp = folder / "bin" / "python", folder / STAMP
    wanted = "\n".join(PACKAGES)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *PACKAGES], check=True)
    subprocess.run([python, "-c", "import mesa.discrete_space"], check=True)
    stamp.write_text(wanted)
    return python


class Mesa:
    """Mesa's models in their own process; a run returns its seconds, without set-up, and its series."""

    def __init__(self, folder: Path):
        self.process = subprocess.Popen(
            [mesa_python(folder), MODELS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, model: str, steps: int, seed: int, settings: dict) -> tuple[float, list]:
        """Return (seconds, series) of a run."""
        request = {"model": model, "steps": steps, "seed": seed, "settings": settings}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("Mesa's process ended; see its message above")
        answer = json.loads(line)
        return answer["seconds"], answer["series"]

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    """Run the command: make the environment and print the path of its Python."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the environment, made if it is missing")
    print(mesa_python(parser.parse_args().folder.absolute()))


if __name__ == "__main__":
    main()
