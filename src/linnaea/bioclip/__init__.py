"""pybioclip's classes and commands on Linnaea's models: the same calls, the same answers; see docs/pybioclip.md."""

from linnaea.bioclip.ranks import BIOCLIP_MODEL_STR, BIOCLIP_V1_MODEL_STR, BIOCLIP_V2_MODEL_STR, Rank

IN_CLASSIFIERS = (
    "TreeOfLifeClassifier",
    "CustomLabelsClassifier",
    "CustomLabelsBinningClassifier",
    "predict_classification",
    "predict_classifications_from_list",
)
IN_RECORDER = ("attach_prediction_recorder", "save_recorded_predictions")
__all__ = [
    "BIOCLIP_MODEL_STR",
    "BIOCLIP_V1_MODEL_STR",
    "BIOCLIP_V2_MODEL_STR",
    "CustomLabelsBinningClassifier",
    "CustomLabelsClassifier",
    "Rank",
    "TreeOfLifeClassifier",
    "attach_prediction_recorder",
    "predict_classification",
    "predict_classifications_from_list",
    "save_recorded_predictions",
]


def __getattr__(name: str):
    # The names above cost nothing; numpy and the rest are loaded with the first classifier.
    if name in IN_CLASSIFIERS:
        from linnaea.bioclip import classifiers

        return getattr(classifiers, name)
    if name in IN_RECORDER:
        from linnaea.bioclip import recorder

        return getattr(recorder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
