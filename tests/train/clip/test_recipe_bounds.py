"""A CLIP recipe refuses numbers that mean nothing, templates without a place and fields without effect."""

from dataclasses import replace
from pathlib import Path

import pytest

from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig
from linnaea.train.data.augmentation import AugmentConfig

DRAWN = SamplesConfig(drawn=8)
RECIPE = ClipRecipe(name="r", towers=Path("t.json"), organisms=DRAWN, batch=4, steps=10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight_decay", -1.0),
        ("final_rate", 5.0),
        ("clip_norm", -1.0),
        ("teacher_weight", -1.0),
        ("n_ahead", -1),
        ("checkpoint_every", -3),
        ("validate_every", -1),
        ("timeout_s", 0.0),
        ("max_scale", 0.1),
        ("learning_rate", -1.0),
        ("beta1", 2.0),
        ("beta2", 1.0),
        ("stop_after", -1),
        ("learning_rate", float("nan")),
        ("epsilon", float("inf")),
        ("batch", 0),
        ("genus_share", 1.5),
        ("micro_batch", -1),
    ],
)
def test_numbers_without_a_meaning_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name} -?[a-z\d.]+ is (below|not within) .*; give") as error:
        replace(RECIPE, **{name: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_ahead", 0), ("final_rate", 1.0), ("max_scale", 1.0), ("beta1", 0.0), ("stop_after", 0), ("weight_decay", 0.0)],
)
def test_the_ends_of_a_range_are_in_it(name, value):
    assert getattr(replace(RECIPE, **{name: value}), name) == value


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"balance": 7.0}, r"balance 7 is not within 0\.\.1"),
        ({"drawn": -4}, "drawn -4 is below 0"),
        ({"drawn": 0, "shards": ("a.tar",), "window": 0}, "window 0 is below 1"),
        ({"template": "no braces"}, r"template 'no braces' must have exactly one {}"),
        ({"template": "a {x} b"}, "must have exactly one {}"),
        ({"template": "{} and {}"}, "must have exactly one {}"),
        ({"types": ()}, "no text type was given; choose from scientific"),
        ({"types": ("latin",)}, "unknown text type 'latin'"),
        ({"draw": "epoch"}, "unknown draw 'epoch'"),
        ({"split": "train"}, "split 'train' needs a table, and none is given"),
        ({"drawn": 0, "shards": ("a.tar",), "split": "train"}, "split 'train' needs a table"),
        ({"drawn": 0, "shards": ("a.tar",), "root": Path("r")}, "root 'r' needs a table"),
        ({"keep_truncated": True}, "keep_truncated and window apply to shards"),
        ({"window": 3}, "keep_truncated and window apply to shards"),
    ],
)
def test_samples_that_cannot_be_are_refused_in_one_line(changes, said):
    with pytest.raises(ValueError, match=said) as error:
        replace(DRAWN, **changes)
    assert "\n" not in str(error.value)


def test_a_template_may_be_the_name_alone():
    assert replace(DRAWN, template="{}").template.format("Felis catus") == "Felis catus"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mirror": 3.0}, r"mirror 3 is not within 0\.\.1"),
        ({"size": 0}, "size 0 is below 1"),
        ({"ratio": 0.5}, "ratio 0.5 is below 1"),
    ],
)
def test_crops_that_cannot_be_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        AugmentConfig(**changes)
