"""Name the photographs in a folder and count the species.

python examples/name_photographs.py [FOLDER]
"""

import sys
from collections import Counter

import linnaea


def main(folder: str = "build/demo/photos") -> None:
    """Print one line for each photograph, then how many photographs each name has."""
    counts: Counter[str] = Counter()
    for prediction in linnaea.identify_photos([folder], min_confidence=0.5):
        answer = prediction.name or f"{prediction.status}: {prediction.reason}"
        print(f"{prediction.file}: {answer} ({prediction.rank or 'no rank'}, {prediction.confidence or 0:.2f})")
        if prediction.status == "identified":
            counts[prediction.name] += 1
    for name, n in counts.most_common():
        print(f"{n:5} {name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
