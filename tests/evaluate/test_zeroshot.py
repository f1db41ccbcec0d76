"""Zero-shot evaluation end to end, with a placeholder model that sees what was painted."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from linnaea.evaluate import zeroshot
from linnaea.evaluate.label_evaluation import make_label_texts
from linnaea.evaluate.truth import Example, assign_fold, find_truth_nodes, read_examples, to_examples
from linnaea.evaluate.vocabulary_evaluation import choose_floor, cross_fit, group_examples, judge_names
from linnaea.evaluate.zeroshot import ZeroshotConfig, benchmark, main
from linnaea.model.core.placeholder import PlaceholderModel
from linnaea.records import RANKS
from linnaea.search.scorer import Scorer
from linnaea.taxonomy.name_text import taxon_text
from linnaea.taxonomy.vocabulary_factory import load_vocabulary
from made_scores import ONE_TAXON, make_scores

BIRD = ("Animalia", "Chordata", "Aves", "Passeriformes")
LINEAGES = {
    "Setophaga magnolia": (*BIRD, "Parulidae", "Setophaga", "Setophaga magnolia"),
    "Setophaga ruticilla": (*BIRD, "Parulidae", "Setophaga", "Setophaga ruticilla"),
    "Passer domesticus": (*BIRD, "Passeridae", "Passer", "Passer domesticus"),
    "Rosa canina": ("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "Rosa", "Rosa canina"),
}


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "taxa.csv"
    with path.open("w", newline="") as lines:
        csv.writer(lines).writerows([RANKS, *LINEAGES.values()])
    return load_vocabulary(path, {"magnolia warbler": "species:Setophaga magnolia"})


@pytest.fixture
def pack(tmp_path, monkeypatch, vocabulary):
    """Eight photographs: each species twice, as itself, except one magnolia warbler that looks like a sparrow."""
    model = PlaceholderModel()
    monkeypatch.setattr(zeroshot, "load_model", lambda name: model)
    monkeypatch.setattr(zeroshot, "load_vocabulary", lambda source, common_names: vocabulary)
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    rows = []
    for i, name in enumerate(list(LINEAGES) * 2):
        looks_like = "Passer domesticus" if i == 4 else name
        Image.fromarray(model.paint(taxon_text(LINEAGES[looks_like], "taxonomic"))).save(tmp_path / f"{i}.png")
        rows.append([f"{i}.png", name, "a" if i < 6 else "b"])
    with (tmp_path / "manifest.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows([["file", "label", "part"], *rows])
    return tmp_path


def config(pack, **options):
    return ZeroshotConfig(manifest=pack / "manifest.csv", root=pack, model="placeholder", **options)


def test_among_labels_seven_of_eight_are_right_and_the_wrong_one_is_a_bird_still(pack):
    report, rows = benchmark(config(pack))
    assert report["n"] == 8
    assert report["n_labels"] == 4
    assert report["top1"]["value"] == 7 / 8
    assert report["top5"]["value"] == 1.0
    assert report["ranks"]["species"]["value"] == 7 / 8
    assert report["ranks"]["family"]["value"] == 7 / 8
    assert report["ranks"]["order"]["value"] == 1.0
    assert rows[4] == {"file": "4.png", "label": "Setophaga magnolia", "predicted": "Passer domesticus"}


def test_the_whole_vocabulary_gives_the_same_answers_here_and_one_json_line(pack, capsys):
    assert main(config(pack, vocabulary="full", predictions=pack / "rows.parquet")) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ranks"]["species"]["value"] == 7 / 8
    assert report["groups"]["all"]["n"] == 8
    assert report["expected_calibration_error"]["species"]["n"] == 8
    assert (pack / "rows.parquet").exists()


def test_conditions_choose_rows_and_a_missing_file_is_counted(pack):
    (pack / "7.png").unlink()
    report, _ = benchmark(config(pack, where=("part=b",)))
    assert (report["n"], report["unreadable"]) == (1, 1)
    with pytest.raises(ValueError, match=r"part=z.*no row"):
        read_examples(pack / "manifest.csv", ("part=z",))
    with pytest.raises(ValueError, match=r"colour.*part"):
        read_examples(pack / "manifest.csv", ("colour=red",))


def test_nothing_readable_is_an_error_that_asks_for_the_root(pack, tmp_path):
    with pytest.raises(FileNotFoundError, match="--root"):
        benchmark(ZeroshotConfig(manifest=pack / "manifest.csv", root=tmp_path / "nowhere", model="placeholder"))


def test_a_manifest_without_labels_says_what_it_has(tmp_path):
    (tmp_path / "m.csv").write_text("file,colour\na.png,red\n")
    with pytest.raises(ValueError, match=r"'label'.*file, colour"):
        read_examples(tmp_path / "m.csv")


def test_a_table_for_training_does_as_a_manifest(tmp_path, vocabulary):
    (tmp_path / "t.csv").write_text(
        "path,genus,species,common_name,split\n"
        "a.png,Rosa,canina,Dog rose,val\n"
        "b.png,Passer,Passer domesticus,,val\n"
        "c.png,Setophaga,,,val\n"
        "d.png,,,magnolia warbler,val\n"
        "e.png,,,,val\n"
        "f.png,Rosa,canina,,train\n"
    )
    rows = read_examples(tmp_path / "t.csv", ("split=val",))
    assert [row["label"] for row in rows] == ["Rosa canina", "Passer domesticus", "Setophaga", "magnolia warbler", ""]
    examples, unresolved = to_examples(rows[:4], vocabulary)
    assert [(e.file, e.common_name) for e in examples[:2]] == [("a.png", "Dog rose"), ("b.png", "")]
    assert examples[0].lineage == LINEAGES["Rosa canina"]
    assert examples[2].lineage == (*LINEAGES["Setophaga ruticilla"][:6], "")
    assert examples[3].lineage == LINEAGES["Setophaga magnolia"]
    assert unresolved == []


def test_rows_that_say_nothing_are_left_out_and_counted(pack, capsys, caplog):
    path = pack / "manifest.csv"
    path.write_text(path.read_text() + "0.png,,b\n")
    assert main(config(pack)) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["unlabelled"] == 1
    assert json.loads(shown.out)["n"] == 8
    assert "1 rows have no label" in caplog.text


def example(label, lineage=("",) * 7, organism=True, common=""):
    return Example(file=f"{label}.png", label=label, common_name=common, lineage=lineage, organism=organism)


def test_labels_are_written_as_asked_and_as_their_own_words_where_two_share_a_taxon():
    warbler = example("magnolia_warbler", LINEAGES["Setophaga magnolia"], common="magnolia warbler")
    dog_rose, rose = (example(name, LINEAGES["Rosa canina"]) for name in ("dog_rose", "wild_rose"))
    texts = make_label_texts([warbler, dog_rose, rose], "auto")
    assert texts["magnolia_warbler"][0].endswith("Parulidae Setophaga magnolia")
    assert texts["magnolia_warbler"][1] == "magnolia warbler"
    assert texts["dog_rose"] == ("dog rose", "dog rose")
    assert make_label_texts([warbler], "scientific") == {"magnolia_warbler": ("Setophaga magnolia",)}
    assert make_label_texts([warbler], "common") == {"magnolia_warbler": ("magnolia warbler",)}


def test_missing_ranks_come_from_the_label_and_unknown_labels_are_reported(vocabulary):
    rows = [
        {"file": "1", "label": "magnolia_warbler"},
        {"file": "2", "label": "something else"},
        {"file": "3", "label": "no organism"},
        {"file": "4", "label": "warblers", "kingdom": "Animalia", "family": "Parulidae"},
    ]
    examples, unresolved = to_examples(rows, vocabulary)
    assert examples[0].lineage == LINEAGES["Setophaga magnolia"]
    assert unresolved == ["something else"]
    assert not examples[2].organism
    nodes = find_truth_nodes(examples, vocabulary)
    assert vocabulary.tree.name(int(nodes[0, 6])) == "Setophaga magnolia"
    assert (nodes[1] == -1).all()
    # ranks between those given are filled in from the tree, none below the label's own
    assert [vocabulary.tree.name(int(k)) if k >= 0 else "" for k in nodes[3]] == [*BIRD, "Parulidae", "", ""]


def test_groups_tell_familiar_from_unseen_species():
    known = {LINEAGES["Rosa canina"]}
    examples = [
        example("a", LINEAGES["Rosa canina"]),
        example("b", LINEAGES["Passer domesticus"]),
        example("c", (*BIRD, "", "", "")),
        example("d", organism=False),
    ]
    assert group_examples(examples, known).tolist() == ["familiar", "unseen", "above species", "no organism"]


def test_judging_by_hand(vocabulary):
    tree, model = vocabulary.tree, PlaceholderModel()
    texts = [taxon_text(tree.lineage(int(node)), "taxonomic") for node in tree.leaf_node_n]

    class Table:
        def similarities(self, v, leaves=None):
            return v @ model.encode_texts(texts).T

    names = ["Setophaga magnolia", "Passer domesticus", "Rosa canina"]
    vectors = model.encode_texts([taxon_text(LINEAGES[name], "taxonomic") for name in names])
    scores = Scorer(tree, Table(), 50.0).score(vectors)
    examples = [
        example("warbler", LINEAGES["Setophaga magnolia"]),
        example("a bird", (*BIRD[:3], "", "", "", "")),
        example("stone", organism=False),
    ]
    truth = find_truth_nodes(examples, vocabulary)
    chance = np.ones((3, 7))
    rows = judge_names(tree, scores, chance, truth, examples, 0.5)
    assert [(row["rank"], row["right"]) for row in rows] == [("species", True), ("species", True), ("species", False)]
    assert rows[1]["judged_at"] == "class"
    chance[:, 5:] = 0.2
    assert [row["rank"] for row in judge_names(tree, scores, chance, truth, examples, 0.5)] == ["family"] * 3
    assert [row["rank"] for row in judge_names(tree, scores, chance * 0, truth, examples, 0.5)] == [""] * 3
    # the stone's name is wrong: only a floor above its confidence makes all given names right
    chance = np.ones((3, 7)) * np.array([[0.9], [0.9], [0.605]])
    group = np.array(["familiar", "above species", "unseen"])
    assert choose_floor(tree, scores, chance, truth, examples, group, 1.0, 1.0) == pytest.approx(0.61)
    assert choose_floor(tree, scores, chance, truth, examples, group, 0.0, 0.0) == pytest.approx(0.61)
    assert choose_floor(tree, scores, chance, truth, examples, group, 0.0, 1.0) == pytest.approx(0.5)


def test_cross_fitting_never_judges_by_what_it_fitted():
    rng = np.random.default_rng(0)
    n = 600
    examples = [example(f"{i}", (*BIRD, "", "", f"Species s{i % 7}")) for i in range(n)]
    group = np.array(["unseen" if i % 3 == 0 else "familiar" for i in range(n)])
    scores = make_scores(rng.uniform(0.05, 0.95, (n, 7)), rng)
    right = rng.uniform(size=(n, 7)) < scores.probability_br
    known = np.ones((n, 7), bool)
    chance = cross_fit(ONE_TAXON, scores, right, known, examples, group, 1.0)
    keys = [e.lineage[-1] if g == "unseen" else e.file for e, g in zip(examples, group, strict=True)]
    fold = np.array([assign_fold(key) for key in keys])
    assert 0 < fold.sum() < n
    # a photograph's own truth moves the chances of the other half alone
    flipped = right.copy()
    flipped[fold == 0] = ~flipped[fold == 0]
    moved = np.abs(cross_fit(ONE_TAXON, scores, flipped, known, examples, group, 1.0) - chance).max(1)
    assert (moved[fold == 0] == 0).all()
    assert (moved[fold == 1] > 0).all()


def test_a_calibration_of_a_few_photographs_is_said_to_be_rough_and_of_hardly_any_is_refused(pack, caplog):
    path = pack / "manifest.csv"
    with pytest.raises(ValueError, match="8 photographs are too few"):
        main(config(pack, vocabulary="full", write_calibration=pack / "c.json"))
    with pytest.raises(ValueError, match="--vocabulary full"):
        config(pack, write_calibration=pack / "c.json")
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *rows * 4]) + "\n")
    assert main(config(pack, vocabulary="full", write_calibration=pack / "c.json")) == 0
    assert "fitted to 32 photographs" in caplog.text
    assert "one probability for all, at kingdom" in caplog.text
    written = json.loads((pack / "c.json").read_text())
    assert written["model_hash"] == PlaceholderModel().card.hash
    assert written["ranks"]["kingdom"]["weights"] == [0.0] * 5


def test_the_report_says_where_its_chances_come_from(pack):
    bare, _ = benchmark(config(pack, vocabulary="full"))
    fitted, _ = benchmark(config(pack, vocabulary="full", calibration="cross-fitted"))
    assert bare["calibration"].startswith("none")
    assert bare["notes"] == []
    assert fitted["calibration"] == "cross-fitted"
    assert "8 photographs" in fitted["notes"][0]


def test_halves_do_not_depend_on_the_machine():
    assert [assign_fold(name) for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg")] == [0, 0, 0, 1]


def test_ranks_that_a_manifest_leaves_out_come_from_the_vocabulary(vocabulary):
    tree = vocabulary.tree
    node = int(tree.nodes_at("species")[0])
    whole = tree.lineage(node)
    rows = [
        {"file": "a", "label": "x", "species": whole[-1]},
        {"file": "b", "label": "y", "family": whole[4]},
        {"file": "c", "label": "z", "kingdom": "Nowhere", "species": whole[-1]},
    ]
    species, family, elsewhere = to_examples(rows, vocabulary)[0]
    assert species.lineage == whole
    assert family.lineage == (*whole[:5], "", "")
    assert elsewhere.lineage == ("Nowhere", "", "", "", "", "", whole[-1])


def test_a_manifest_may_carry_a_byte_order_mark_and_short_rows(tmp_path, vocabulary):
    (tmp_path / "m.csv").write_text("\ufefffile,label,common\na.png,Felis catus\n", encoding="utf-8")
    assert read_examples(tmp_path / "m.csv") == [{"file": "a.png", "label": "Felis catus", "common": ""}]


def test_a_manifest_without_a_species_column_gets_the_species_from_the_label(vocabulary):
    ranks = dict(zip(RANKS, LINEAGES["Passer domesticus"], strict=True))
    above = {rank: name for rank, name in ranks.items() if rank != "species"}
    rows = [
        {"file": "a", "label": "Passer_domesticus", **above},
        {"file": "b", "label": "House_Sparrow", "scientific": "Passer domesticus", **above},
        {"file": "c", "label": "Rosa canina", **above},
        {"file": "d", "label": "Passer domesticus", **above, "species": ""},
    ]
    examples, unresolved = to_examples(rows, vocabulary)
    whole = LINEAGES["Passer domesticus"]
    assert [example.lineage for example in examples] == [whole, whole, (*whole[:-1], ""), (*whole[:-1], "")]
    assert unresolved == []
