"""The interval tree against nested dictionaries, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaea.records import RANK_INDEX, RANKS
from linnaea.taxonomy.tree import Tree

CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus")
WILDCAT = (*CAT[:6], "Felis silvestris")
LION = (*CAT[:5], "Panthera", "Panthera leo")
OAK = ("Plantae", "", "Magnoliopsida", "Fagales", "Fagaceae", "Quercus", "Quercus robur")

names = st.sampled_from(["", "a", "b", "é", "B c"])
lineages = st.lists(
    st.tuples(*[names] * 7).filter(any), min_size=1, max_size=25
)  # a small alphabet, so that names repeat under different parents


def frame(rows):
    return {rank: [row[i] for row in rows] for i, rank in enumerate(RANKS)}


def build(rows):
    return Tree.from_lineages(frame(rows))


def reference(rows):
    """Nodes (rank, name, start, end, parent) in preorder and the leaves in order, from nested dictionaries."""
    root = {}
    for row in rows:
        level = root
        for name in row:
            level = level.setdefault(name, {})
    nodes, leaves = [], []

    def walk(level, path, parent):
        if len(path) == len(RANKS):
            leaves.append((path, parent))
            return
        for name in sorted(level):
            own = parent
            if name:
                own = len(nodes)
                nodes.append([len(path), name, len(leaves), None, parent])
            walk(level[name], (*path, name), own)
            if name:
                nodes[own][3] = len(leaves)

    walk(root, (), -1)
    return [tuple(node) for node in nodes], leaves


def as_rows(tree):
    columns = (tree.rank_k, list(tree.names), tree.start_k, tree.end_k, tree.parent_k)
    return [(int(r), n, int(s), int(e), int(p)) for r, n, s, e, p in zip(*columns, strict=True)]


@settings(max_examples=60, deadline=None)
@given(lineages)
def test_nodes_and_leaves_are_those_of_nested_dictionaries(rows):
    tree, leaf_of_row = build(rows)
    nodes, leaves = reference(rows)
    assert as_rows(tree) == nodes
    assert tree.leaf_node_n.tolist() == [node for _, node in leaves]
    assert [leaves[leaf][0] for leaf in leaf_of_row] == rows


@settings(max_examples=60, deadline=None)
@given(lineages, st.data())
def test_walks_up_and_down_agree_with_the_parents(rows, data):
    tree, _ = build(rows)
    node = data.draw(st.integers(0, tree.n_nodes - 1))
    above = tree.ancestors(node)
    assert [int(tree.parent_k[n]) for n in [*above, node]] == [-1, *above]
    below = [n for n in range(tree.n_nodes) if node in [*tree.ancestors(n), n]]
    assert list(tree.subtree(node)) == below
    for rank in RANKS:
        at_rank = [n for n in [*above, node] if tree.rank(n) == rank]
        assert tree.ancestor_at(node, rank) == (at_rank[0] if at_rank else -1)
        assert tree.descendants(node, rank).tolist() == [n for n in below if tree.rank(n) == rank]
    lineage = tree.lineage(node)
    assert [name for name in lineage if name] == [tree.name(n) for n in [*above, node]]
    assert tree.taxon(node).lineage == lineage
    assert tree.taxon(node).name == lineage[RANK_INDEX[tree.rank(node)]]


@settings(max_examples=60, deadline=None)
@given(lineages, st.data())
def test_the_lowest_common_ancestor_is_the_deepest_shared_one(rows, data):
    tree, _ = build(rows)
    nodes = data.draw(st.lists(st.integers(0, tree.n_nodes - 1), min_size=1, max_size=4))
    shared = set.intersection(*({*tree.ancestors(n), n} for n in nodes))
    assert tree.lowest_common_ancestor(nodes) == max(shared, default=-1)


@settings(max_examples=60, deadline=None)
@given(lineages, st.data())
def test_leaves_within_are_the_union_of_the_intervals(rows, data):
    tree, _ = build(rows)
    nodes = data.draw(st.lists(st.integers(0, tree.n_nodes - 1), max_size=4))
    wanted = sorted({leaf for n in nodes for leaf in range(tree.start_k[n], tree.end_k[n])})
    assert tree.leaves_within(nodes).tolist() == wanted
    intervals = tree.intervals_within(nodes)
    assert (intervals[1:, 0] > intervals[:-1, 1]).all()


@settings(max_examples=40, deadline=None)
@given(lineages)
def test_a_tree_read_back_is_the_same_and_order_of_rows_does_not_matter(tmp_path_factory, rows):
    tree, _ = build(rows)
    folder = tmp_path_factory.mktemp("tree")
    tree.save(folder)
    again = Tree.load(folder)
    assert as_rows(again) == as_rows(tree)
    assert again.content_hash() == tree.content_hash() == build(rows[::-1])[0].content_hash()


def test_every_rank_is_a_set_of_disjoint_intervals_by_hand():
    tree, leaf_of_row = build([OAK, LION, CAT, WILDCAT, CAT])
    assert leaf_of_row.tolist() == [3, 2, 0, 1, 0]
    felidae = int(tree.nodes_at("family")[0])
    assert (tree.name(felidae), tree.start_k[felidae], tree.end_k[felidae]) == ("Felidae", 0, 3)
    assert [tree.name(n) for n in tree.nodes_at("genus")] == ["Felis", "Panthera", "Quercus"]
    assert tree.nodes_at("phylum").tolist() == [1]
    assert tree.lineage(int(tree.leaf_node_n[3])) == OAK
    assert tree.lowest_common_ancestor(tree.leaf_node_n) == -1
    assert tree.name(tree.lowest_common_ancestor(tree.leaf_node_n[[0, 1]])) == "Felis"
    assert tree.is_within(int(tree.leaf_node_n[0]), felidae)
    assert not tree.is_within(0, felidae)


def test_a_terminal_family_is_a_leaf_and_a_node_above_others():
    tree, leaf_of_row = build([CAT, (*CAT[:5], "", "")])
    family = int(tree.leaf_node_n[leaf_of_row[1]])
    assert tree.rank(family) == "family"
    assert (tree.start_k[family], tree.end_k[family]) == (0, 2)


def test_a_key_keeps_rows_with_one_name_apart_as_leaves_of_one_node():
    table = frame([CAT, CAT, LION]) | {"id": [7, 5, 9]}
    tree, leaf_of_row = Tree.from_lineages(table, key="id")
    assert tree.n_leaves == 3
    assert len(tree.nodes_at("species")) == 2
    assert leaf_of_row.tolist() == [1, 0, 2]
    assert tree.leaf_node_n[0] == tree.leaf_node_n[1]


def test_nulls_blanks_and_absent_columns_are_missing_ranks():
    tree, leaf_of_row = Tree.from_lineages({"family": [" Felidae ", None, ""], "species": ["Felis catus", None, "  "]})
    assert leaf_of_row.tolist() == [0, -1, -1]
    assert tree.lineage(1) == ("", "", "", "", "Felidae", "", "Felis catus")


def test_what_cannot_be_a_tree_is_refused_in_words():
    with pytest.raises(ValueError, match="no row has a name"):
        Tree.from_lineages({"species": [None]})
    with pytest.raises(ValueError, match=r"'tribe'.*family"):
        build([CAT])[0].nodes_at("tribe")


def test_leaves_are_loaded_without_being_read(tmp_path):
    build([CAT])[0].save(tmp_path)
    tree = Tree.load(tmp_path)
    assert isinstance(tree.start_k, np.ndarray)
    assert isinstance(tree.start_k.base, np.memmap)
