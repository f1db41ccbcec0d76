"""pybioclip's classifier among the taxa of a tree of life.

Shape suffixes: b images, n columns of the name table, r ranks, k the best taxa, d vector dimensions.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from heapq import nlargest
from importlib.util import find_spec
from itertools import compress
from operator import itemgetter

import numpy as np

from linnaea.bioclip.base_classifier import FILE_NAME, SCORE, BaseClassifier, Callback, Picture, list_pictures
from linnaea.bioclip.ranks import BATCH_SIZE, COMMON_NAME, SPECIES_EPITHET, Rank, list_name_keys, split_name
from linnaea.bioclip.tree_of_life import TableSource, load_tree_of_life
from linnaea.model.runtimes.runtime_check import LabelFunction
from linnaea.records import RANKS
from linnaea.search.scorer import Scorer


class TreeOfLifeClassifier(BaseClassifier):
    """Chooses among the taxa of a tree of life, at any rank.

    `table` is a `txt_emb_species` file (or its folder), or a vocabulary whose names the model embeds (`inat`). By
    default it is the table that is published for the model, else `inat`.
    """

    def __init__(self, *, table: TableSource | None = None, **options):
        super().__init__(**options)
        self.vocabulary, self._table = load_tree_of_life(self.model, self.model_str, table)
        self._keep_leaves(None)

    def _squashes(self) -> bool:
        return True

    def _make_label_function(self) -> tuple[LabelFunction | None, str]:
        def find_species(vectors_bd: np.ndarray) -> list[int]:
            scores = self._scorer.score(vectors_bd, details=False, ranks=["species"])
            return scores.node_br[:, Rank.SPECIES.value].tolist()

        return find_species, self.vocabulary.hash

    def _keep_leaves(self, leaves: np.ndarray | None) -> None:
        """Choose among these leaves from now on, None: among all."""
        self._kept_n = None
        self._scorer = Scorer(self.vocabulary.tree, self._table, self.model.card.logit_scale, None, leaves)

    def get_label_data(self):
        """The names of every column of the table, as a pandas frame where pandas is installed, else a polars frame.

        It has the columns kingdom … genus, species_epithet, species and common_name.
        """
        frame = self.make_label_frame()
        if find_spec("pandas") is None:
            return frame
        import pandas as pd

        return pd.DataFrame(frame.to_dict(as_series=False))

    def make_label_frame(self):
        """`get_label_data` as a polars frame."""
        import polars as pl

        tree, vocabulary = self.vocabulary.tree, self.vocabulary
        columns = {}
        for rank in RANKS:
            nodes = tree.nodes_at(rank)
            # The last name stands for leaves without this rank, and for columns without a name.
            of_leaf = np.full(tree.n_leaves + 1, len(nodes))
            sizes = (tree.end_k - tree.start_k)[nodes]
            of_leaf[_join_ranges(tree.start_k[nodes], sizes)] = np.repeat(np.arange(len(nodes)), sizes)
            names = pl.Series([*tree.names.take(nodes), ""], dtype=pl.String)
            columns[rank] = names.gather(of_leaf[vocabulary.leaf_of_row])
        columns[SPECIES_EPITHET] = columns["species"].str.replace(r"^\S+ ", "")
        common = [vocabulary.common_name(node) for node in tree.leaf_node_n.tolist()]
        columns[COMMON_NAME] = pl.Series([*common, ""], dtype=pl.String).gather(
            vocabulary.leaf_of_row % (len(common) + 1)
        )
        return pl.DataFrame({key: columns[key] for key in list_name_keys(Rank.SPECIES)})

    def create_taxa_filter(self, rank: Rank, user_values: Iterable[str]) -> np.ndarray:
        """Which columns of the table lie in taxa of that rank with these names, bool [n]; for `apply_filter`.

        Synonyms and common names count if no scientific name fits. Raise ValueError that lists the unknown names.
        """
        label, nodes, unknown = rank.get_label(), [], []
        for value in dict.fromkeys(user_values):
            taxa = self.vocabulary.resolve(value, rank=label, suggest=False).taxa
            nodes += [taxon.node for taxon in taxa]
            unknown += [] if taxa else [value]
        if unknown:
            raise ValueError(f"Unknown {label} received: {', '.join(unknown)}. Only known {label} may be used.")
        kept = np.zeros(self.vocabulary.tree.n_leaves + 1, bool)  # the last stands for a column without a name
        kept[self.vocabulary.tree.leaves_within(nodes)] = True
        return kept[self.vocabulary.leaf_of_row]

    def create_taxa_filter_from_csv(self, csv_path: str | os.PathLike) -> np.ndarray:
        """The same for a CSV file whose first column is named for a rank and holds names."""
        with open(csv_path, newline="", encoding="utf-8-sig") as handle:
            rows = [row for row in csv.reader(handle) if row]
        column = rows[0][0].strip().lower() if rows else ""
        if column not in RANKS:
            raise ValueError(
                f"The first column of {csv_path} is named '{column}' but must be one of {','.join(RANKS)}."
            )
        return self.create_taxa_filter(Rank[column.upper()], [row[0].strip() for row in rows[1:] if row[0].strip()])

    def apply_filter(self, keep_labels_ary: Sequence[bool] | None) -> None:
        """Choose only among these columns of the table from now on; None: among all again."""
        if keep_labels_ary is None:
            return self._keep_leaves(None)
        keep_n = np.asarray(keep_labels_ary, bool)
        if len(keep_n) != len(self.vocabulary.leaf_of_row):
            raise ValueError(
                f"Invalid keep_embeddings values. This parameter should be a list containing "
                f"{len(self.vocabulary.leaf_of_row)} items; it has {len(keep_n)}."
            )
        leaves = self.vocabulary.leaf_of_row[keep_n]
        self._keep_leaves(np.unique(leaves[leaves >= 0]).astype(np.int32))
        self._kept_n = keep_n

    @cached_property
    def txt_names(self) -> list[list]:
        """The names of every column as pybioclip's JSON has them: [[kingdom, …, genus, epithet], common name]."""
        frame = self.make_label_frame().drop("species")
        return [[list(row[:-1]), row[-1]] for row in frame.iter_rows()]

    def get_current_txt_names(self) -> list[list]:
        """`txt_names` of the columns that the filter keeps."""
        return self.txt_names if self._kept_n is None else list(compress(self.txt_names, self._kept_n.tolist()))

    @property
    def txt_embeddings(self) -> np.ndarray:
        """The vectors of every column, float32 [d, n], zeros for a column without a name; a copy."""
        leaf_n = self.vocabulary.leaf_of_row
        vectors_nd = np.asarray(self._table.vectors_nd[np.maximum(leaf_n, 0)], np.float32)
        vectors_nd[leaf_n < 0] = 0
        return vectors_nd.T

    def get_txt_embeddings(self) -> np.ndarray:
        """`txt_embeddings` of the columns that the filter keeps."""
        return self.txt_embeddings if self._kept_n is None else self.txt_embeddings[:, self._kept_n]

    def get_classification_dict(self, idx: int, rank: Rank) -> dict[str, str]:
        """The names of a column, of those that the filter keeps, down to `rank`."""
        (*above, epithet), common_name = self.get_current_txt_names()[int(idx)]
        return split_name((*above, f"{above[-1]} {epithet}"), common_name, rank)

    def format_species_probs(self, image_key: str, probs: Sequence[float], k: int = 5) -> list[dict]:
        """The dicts of `predict` for the probabilities of the columns, the k likeliest first."""
        best = nlargest(k, enumerate(np.asarray(probs).tolist()), key=itemgetter(1))
        return [
            {FILE_NAME: image_key, **self.get_classification_dict(i, Rank.SPECIES), SCORE: mass} for i, mass in best
        ]

    def predict(
        self,
        images: Picture | Sequence[Picture],
        rank: Rank,
        min_prob: float = 1e-9,
        k: int = 5,
        batch_size: int | None = BATCH_SIZE,
        callback: Callback | None = None,
    ) -> list[dict]:
        """Dicts with file_name, the names down to the rank, and score (0..1): the k likeliest taxa of each picture.

        Above species rank, taxa below `min_prob` are left out.
        """
        pictures = list_pictures(images)
        found = list(self.predict_each(pictures, rank, min_prob, k, batch_size, callback))
        details = {"rank": rank.get_label(), "min_prob": min_prob, "k": k, "batch_size": batch_size}
        self.record_event(images=[named.picture for named in pictures], **details)
        return found

    def predict_each(self, images, rank, min_prob=1e-9, k=5, batch_size=BATCH_SIZE, callback=None) -> Iterator[dict]:
        """Yield the dicts of `predict`, a batch in memory at a time."""
        if k < 1:
            raise ValueError(f"k {k} is too small; give 1 or more")
        answer = partial(self._name_vectors, rank=rank, min_prob=0.0 if rank is Rank.SPECIES else min_prob, k=k)
        return self._predict_pictures(images, batch_size, callback, answer, dict.fromkeys(list_name_keys(rank), ""))

    def _name_vectors(self, vectors_bd: np.ndarray, rank: Rank, min_prob: float, k: int) -> Iterator[list[dict]]:
        scores = self._scorer.score(vectors_bd, top=k, details=False, ranks=[rank.get_label()])
        tree, vocabulary, r = self.vocabulary.tree, self.vocabulary, rank.value
        for nodes, masses in zip(scores.top_node_brk[:, r], scores.top_probability_brk[:, r], strict=True):
            yield [
                {**split_name(tree.lineage(node), vocabulary.common_name(node), rank), SCORE: mass}
                for node, mass in zip(nodes[:k].tolist(), masses[:k].tolist(), strict=True)
                if node >= 0 and mass >= min_prob
            ]


def _join_ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The numbers of all ranges, one range after the other."""
    return np.repeat(starts - np.concatenate([[0], np.cumsum(sizes[:-1])]), sizes) + np.arange(sizes.sum())


def predict_classification(
    img: Picture, rank: Rank, device: str = "cpu", min_prob: float = 1e-9, k: int = 5, **options
) -> list[dict]:
    """The k likeliest taxa of one picture, as `TreeOfLifeClassifier.predict` returns them."""
    return TreeOfLifeClassifier(device=device, **options).predict([img], rank, min_prob, k)
