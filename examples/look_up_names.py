"""Look up names: lineage, synonyms, common names, near misses.

python examples/look_up_names.py [NAME ...]
"""

import sys

import linnaea


def main(*names: str) -> None:
    """Print what each name means, or what it may have meant."""
    vocabulary = linnaea.load_vocabulary()
    for name in names or ("barn swallow", "Panthera leo", "Felidae", "Pantera leo"):
        resolution = vocabulary.resolve(name)
        if resolution.taxa:
            for taxon in resolution.taxa:
                print(f"{name}: {taxon.rank} {taxon.name} — {' > '.join(filter(None, taxon.lineage))}")
        else:
            near = ", ".join(taxon.name for taxon in resolution.suggestions)
            print(f"{name}: {resolution.reason}; similar names: {near or 'none'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
