"""Compute a vector for each photograph and print the most similar pairs.

python examples/find_similar.py [FOLDER]
"""

import sys

import numpy as np

import linnaea


def main(folder: str = "build/demo/photos", n_pairs: str = "5") -> None:
    """Print the pairs of photographs with the highest cosine similarity."""
    files, vectors_nd = linnaea.embed_photos(folder)
    cosine_nn = vectors_nd @ vectors_nd.T
    first, second = np.triu_indices(len(files), k=1)
    for pair in np.argsort(-cosine_nn[first, second])[: int(n_pairs)]:
        i, j = first[pair], second[pair]
        print(f"{cosine_nn[i, j]:.3f}  {files[i]}  {files[j]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
