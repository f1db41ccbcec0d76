"""The recipes of the model that comes with Linnaea.

`bundled` is what is shipped. `bundled_ablation` is the same without 20 bird and 2 butterfly species, to measure what the model says
of species that it never met. `bundled_permissive` uses nothing but permissively licensed sources.
Photographs are looked for in ../shared/data/images unless `--images` says otherwise.
"""

from dataclasses import replace
from pathlib import Path

from linnaea.train.bundled.recipe import BundledRecipe, HeldOut, PhotoSet, TeacherConfig
from linnaea.train.bundled.trunk_finetuning import FinetuneConfig, FinetuneStage

RECIPES = ("bundled", "bundled_ablation", "bundled_permissive")
HERE = Path(__file__).parent
DATA = HERE.parent.parent / "shared" / "data"
SPECIES = "manifest_species.csv"
# Kept out of the trunk's training in both, the model and its ablation, so that one trunk serves the two.
UNSEEN = (HeldOut(set="cub100", count=20), HeldOut(set="leeds_butterfly", count=2))
# A second round of the trunk: gentler, longer at full size; sets in which it was weakest are drawn more often.
LONGER = FinetuneConfig(
    stages=(
        FinetuneStage(images=6_400, size=160, first=18),
        FinetuneStage(images=83_200, size=160, first=7),
        FinetuneStage(images=25_600, size=224, first=7),
    ),
    trunk_rate=0.003,
    drawn=(("plant_seedlings", 2.0), ("monkeys10", 2.0)),
)


def bundled() -> BundledRecipe:
    """All photographs, ImageNet's class rows, and the iNaturalist bird and insect classifiers as teachers."""
    return BundledRecipe(
        name="linnaea-lite0",
        images=DATA / "images",
        labels=HERE / "labels",
        finetune=(FinetuneConfig(), LONGER),
        held_out_of_trunk=UNSEEN,
        photo_sets=(
            PhotoSet(name="cub100", table=SPECIES, key="scientific"),
            PhotoSet(name="leeds_butterfly", table=SPECIES, key="scientific"),
            PhotoSet(name="heliconius_hcgsd", table=SPECIES, key="scientific"),
            PhotoSet(name="monkeys10", table=SPECIES, key="scientific"),
            PhotoSet(name="fish4knowledge", table=SPECIES, key="scientific"),
            PhotoSet(name="plant_seedlings", table=SPECIES, key="scientific", any_side_up=True),
            PhotoSet(name="leaf_health", table=SPECIES, key="scientific", any_side_up=True),
            PhotoSet(name="lion_reid", table=SPECIES, key="scientific"),
            PhotoSet(name="plankton121", table="plankton121.csv", any_side_up=True),
            PhotoSet(name="tiny_imagenet_animals", table="tiny_imagenet_animals.csv"),
            PhotoSet(name="no_organism", table="imagenet.csv", key="wnid"),
        ),
        teachers=(
            TeacherConfig(
                path=DATA / "teachers" / "mobilenet_v2_1.0_224_inat_bird_quant.tflite",
                table="inat_birds.csv",
                taught_on=("cub100",),
                answers_on=("cub100",),
            ),
            TeacherConfig(
                path=DATA / "teachers" / "mobilenet_v2_1.0_224_inat_insect_quant.tflite",
                table="inat_insects.csv",
                taught_on=("leeds_butterfly", "heliconius_hcgsd", "tiny_imagenet_animals"),
                answers_on=("leeds_butterfly", "heliconius_hcgsd"),
            ),
        ),
    )


def bundled_ablation() -> BundledRecipe:
    """`bundled` without 20 bird and 2 butterfly species in any signal."""
    return replace(
        bundled(),
        name="linnaea-lite0-ablation",
        held_out=UNSEEN,
    )


def bundled_permissive() -> BundledRecipe:
    """Only sources under permissive licences: the trunk with its class rows (Apache-2.0) and Heliconius wings (CC0)."""
    return replace(
        bundled(),
        name="linnaea-lite0-permissive",
        photo_sets=(PhotoSet(name="heliconius_hcgsd", table=SPECIES, key="scientific"),),
        teachers=(),
        finetune=(),
        held_out_of_trunk=(),
        n_photographs=32,
        n_refused=0,
        n_class_rows=384,
    )
