"""pybioclip's classes and commands on Linnaea's models: the same calls, the same answers; see docs/pybioclip.md.

A picture that cannot be read has an answer with a `reason`.
"""

from importlib import import_module

from linnaea.bioclip.ranks import (
    BIOCLIP_MODEL_STR,
    BIOCLIP_V1_MODEL_STR,
    BIOCLIP_V2_MODEL_STR,
    Rank,
    ensure_tol_supported_model,
    get_rank_labels,
    get_tol_repo_id,
)

_MODULES = {
    "BaseClassifier": "linnaea.bioclip.base_classifier",
    "CustomLabelsBinningClassifier": "linnaea.bioclip.label_classifiers",
    "CustomLabelsClassifier": "linnaea.bioclip.label_classifiers",
    "TreeOfLifeClassifier": "linnaea.bioclip.tree_classifier",
    "attach_prediction_recorder": "linnaea.bioclip.recorder",
    "predict_classification": "linnaea.bioclip.tree_classifier",
    "predict_classifications_from_list": "linnaea.bioclip.label_classifiers",
    "save_recorded_predictions": "linnaea.bioclip.recorder",
}
__all__ = [
    "BIOCLIP_MODEL_STR",
    "BIOCLIP_V1_MODEL_STR",
    "BIOCLIP_V2_MODEL_STR",
    "BaseClassifier",
    "CustomLabelsBinningClassifier",
    "CustomLabelsClassifier",
    "Rank",
    "TreeOfLifeClassifier",
    "attach_prediction_recorder",
    "ensure_tol_supported_model",
    "get_rank_labels",
    "get_tol_repo_id",
    "predict_classification",
    "predict_classifications_from_list",
    "save_recorded_predictions",
]


def __getattr__(name: str) -> object:
    # The names above are imported at once; numpy and the rest are imported with the first classifier.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
