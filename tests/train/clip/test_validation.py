"""Validation while training: top-1 and loss equal a slow count on rows that training leaves out."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from linnaea.datasets.synthetic import draw_picture, synthetic_taxa
from linnaea.model.core.tokenizer import ClipTokenizer
from linnaea.photos.decoding import UNKNOWN
from linnaea.train.clip.pipeline import run_clip
from linnaea.train.clip.recipe import SamplesConfig
from linnaea.train.clip.towers import pack_texts
from linnaea.train.clip.training_model import open_model
from linnaea.train.clip.validation import N_DRAWN, Validation, open_validation
from linnaea.train.distributed.process_group import ProcessGroup
from made_clip import curve_of, tiny_recipe

COLUMNS = ("file", "kingdom", "phylum", "class", "order", "family", "genus", "species", "common_name", "split")


def table_of_pictures(folder: Path, *, broken: int = 0) -> SamplesConfig:
    """48 pictures to train on and 12 for validation, of which some are broken."""
    folder.mkdir()
    taxa = synthetic_taxa()
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(COLUMNS)
        for i in range(60):
            lineage, common = taxa[i % 48]
            is_val = i >= 48
            (folder / f"{i}.png").write_bytes(b"broken" if i >= 60 - broken else draw_picture(i % 48, i))
            rows.writerow([f"{i}.png", *lineage, common, "val" if is_val else "train"])
    return SamplesConfig(table=folder / "labels.csv", split="train")


def slow_figures(recipe, towers) -> tuple[float, float]:
    """Top-1 and loss, photograph by photograph and name by name."""
    validation = Validation(recipe, Path(recipe.towers.parent), ProcessGroup())
    found = [validation._read((0, row)) for row in range(12)]
    names = sorted({name for _, name in found})
    ids = ClipTokenizer(towers.text_config.context).ids(names)
    text_td = torch.cat([towers.encode_texts(pack_texts([one])) for one in ids])
    right, losses = 0, []
    for pixels, name in found:
        logits = [
            (towers.logit_scale.exp() * text @ towers.encode_images(torch.from_numpy(pixels[None].copy()))[0]).item()
            for text in text_td
        ]
        right += names[logits.index(max(logits))] == name
        losses.append(torch.tensor(logits, dtype=torch.float64).logsumexp(0).item() - logits[names.index(name)])
    return right / len(found), sum(losses) / len(losses)


def test_the_figures_are_those_of_a_slow_count(tmp_path):
    recipe = replace(tiny_recipe(tmp_path), organisms=table_of_pictures(tmp_path / "photos"))
    towers = open_model(recipe).clip.eval()
    with torch.no_grad():
        top1, loss = slow_figures(recipe, towers)
        found = Validation(recipe, tmp_path, ProcessGroup())(towers)
    assert found["top1"] == pytest.approx(top1)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)


def test_a_run_is_validated_at_its_steps_and_learns_the_same(tmp_path, caplog):
    caplog.set_level("INFO", "linnaea")
    recipe = replace(tiny_recipe(tmp_path), organisms=table_of_pictures(tmp_path / "photos", broken=2))
    run_clip(recipe, tmp_path / "plain")
    run_clip(replace(recipe, validate_every=4), tmp_path / "watched")
    work = tmp_path / "watched" / "training"
    rows = list(csv.DictReader((work / "validation.csv").open(encoding="utf-8")))
    assert [(row["step"], row["name"]) for row in rows] == [(str(n), name) for n in (4, 6) for name in ("top1", "loss")]
    assert sum(line.startswith("step 6/6  top1 ") for line in caplog.messages) == 1
    assert f"validation: not used: 2 x {UNKNOWN}" in caplog.messages
    assert curve_of(work) == curve_of(tmp_path / "plain" / "training")
    assert not (tmp_path / "plain" / "training" / "validation.csv").exists()
    assert (work / "rejects" / "validation-0.csv").read_text().splitlines()[1:] == [
        f'labels.csv,{i}.png,"{UNKNOWN}"' for i in (58, 59)
    ]


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (SamplesConfig(shards=("a.tar",)), "validate_every 4 needs a table .* shards; leave validate_every at 0"),
        (SamplesConfig(table=Path("t.csv")), "organisms.split is empty; give --organisms.split train"),
        (SamplesConfig(table=Path("t.csv"), split="val"), "organisms.split is 'val'"),
    ],
)
def test_what_cannot_be_validated_is_refused_in_one_line(tmp_path, samples, said):
    with pytest.raises(ValueError, match=said):
        run_clip(replace(tiny_recipe(tmp_path), organisms=samples, validate_every=4), tmp_path / "out")


def test_a_table_without_rows_for_validation_is_refused(tmp_path):
    samples = table_of_pictures(tmp_path / "photos")
    text = samples.table.read_text(encoding="utf-8").replace(",val\n", ",test\n").replace(",val\r\n", ",test\r\n")
    samples.table.write_text(text, encoding="utf-8")
    recipe = replace(tiny_recipe(tmp_path), organisms=samples, validate_every=4)
    with pytest.raises(ValueError, match=r"has no row whose split is 'val'.*leave validate_every at 0"):
        open_validation(recipe)


def test_drawn_pictures_are_validated_on_others_of_the_same_species(tmp_path):
    source = open_validation(replace(tiny_recipe(tmp_path), validate_every=1))
    assert source.sizes_p.tolist() == [N_DRAWN]
    assert source.read(0, 5, "common").lineage == synthetic_taxa()[5][0]
