"""Learn names of your own from a folder for each name, then name other photographs with them.

python examples/learn_names.py CLASSES PHOTOS

CLASSES holds one folder for each name, such as CLASSES/tabby/*.jpg. Without arguments, the three photographs of the
demo are the examples and the photographs to name.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import linnaea


def make_demo_classes(folder: Path) -> Path:
    """A folder with one class folder for each photograph of the demo."""
    for path in sorted(Path("build/demo/photos").iterdir()):
        (folder / path.stem).mkdir(parents=True)
        shutil.copy(path, folder / path.stem)
    return folder


def main(classes: str = "", photos: str = "build/demo/photos") -> None:
    """Print the learnt name of each photograph."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        classes_dir = Path(classes) if classes else make_demo_classes(work / "classes")
        manifest = linnaea.learn_labels(classes_dir, work / "labels")
        print(f"learnt {manifest['n']} names from {classes_dir.name}")
        for prediction in linnaea.identify_photos([photos], labels=str(work / "labels"), min_confidence=0.1):
            print(f"{prediction.file}: {prediction.name or prediction.reason} ({prediction.confidence or 0:.2f})")


if __name__ == "__main__":
    main(*sys.argv[1:])
