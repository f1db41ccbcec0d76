"""The recipes of the model that comes with Linnaea.

`bundled` is the shipped model. `bundled_ablation` is the same without 20 bird and 2 butterfly species, to measure how
well the model names species that it has never seen. `bundled_permissive` uses only permissively licensed sources. The
photographs are in ../shared/data/images unless `--images` names another folder.
"""

from dataclasses import replace
from pathlib import Path

from linnaea.train.bundled.recipe import (
    BundledRecipe,
    FinetuneConfig,
    FinetuneStage,
    HeldOut,
    PhotoSet,
    TeacherConfig,
)

RECIPES = ("bundled", "bundled_ablation", "bundled_permissive")
HERE = Path(__file__).parent
DATA = HERE.parent.parent / "shared" / "data"
SPECIES = "manifest_species.csv"
# Kept out of the fine-tuning of the trunk in the model and in its ablation, so that one trunk serves both.
UNSEEN = (HeldOut(set="cub100", count=20), HeldOut(set="leeds_butterfly", count=2))
# The second round of fine-tuning has a lower rate and is longer at full size; the weakest sets are drawn more often.
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
    """Return the recipe with all photographs, ImageNet's class rows, and the iNaturalist classifiers as teachers."""
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
    """Return `bundled` without 20 bird and 2 butterfly species in any part of the training."""
    return replace(
        bundled(),
        name="linnaea-lite0-ablation",
        held_out=UNSEEN,
    )


def bundled_permissive() -> BundledRecipe:
    """Return the recipe with permissive licences: the trunk, its class rows (Apache-2.0) and Heliconius wings (CC0)."""
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
