"""The names of pybioclip's module `bioclip.predict`, so that imports from it need only another package name."""

from linnaea.bioclip.base_classifier import BaseClassifier
from linnaea.bioclip.label_classifiers import (
    CustomLabelsBinningClassifier,
    CustomLabelsClassifier,
    predict_classifications_from_list,
)
from linnaea.bioclip.ranks import (
    BIOCLIP_MODEL_STR,
    BIOCLIP_V1_MODEL_STR,
    BIOCLIP_V2_MODEL_STR,
    TOL_MODELS,
    Rank,
    ensure_tol_supported_model,
    get_rank_labels,
    get_tol_repo_id,
)
from linnaea.bioclip.tree_classifier import TreeOfLifeClassifier, predict_classification

__all__ = [
    "BIOCLIP_MODEL_STR",
    "BIOCLIP_V1_MODEL_STR",
    "BIOCLIP_V2_MODEL_STR",
    "TOL_MODELS",
    "BaseClassifier",
    "CustomLabelsBinningClassifier",
    "CustomLabelsClassifier",
    "Rank",
    "TreeOfLifeClassifier",
    "ensure_tol_supported_model",
    "get_rank_labels",
    "get_tol_repo_id",
    "predict_classification",
    "predict_classifications_from_list",
]
