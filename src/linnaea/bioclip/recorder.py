"""A record of predictions beside the answers: model, settings, images, as text to append to or as JSON."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path

from linnaea import __version__


def verify_recorder_path(path: str) -> None:
    """Raises FileExistsError for a JSON file that is there already; text is appended to."""
    if _is_json(path) and os.path.exists(path):
        raise FileExistsError(f"{path} is there already; give another file, or one that is not JSON to append to")


def attach_prediction_recorder(classifier, **top_level_settings) -> PredictionRecorder:
    """The recorder that hears of every later `predict` of the classifier."""
    recorder = PredictionRecorder(classifier, **top_level_settings)
    classifier.set_recorder(recorder)
    return recorder


def save_recorded_predictions(classifier, path: str, include_command_line: bool = True) -> None:
    """Writes what the classifier's recorder has heard. Raises ValueError where it has none."""
    if not classifier.recorder:
        raise ValueError("the classifier has no recorder; call attach_prediction_recorder before predict")
    classifier.recorder.create_report(path, " ".join(sys.argv) if include_command_line else None)


class PredictionRecorder:
    """What was asked of a classifier. `predictions` holds the images and the settings of each call."""

    def __init__(self, classifier, **top_level_settings):
        self.model_str, self.pretrained_str = classifier.model_str, classifier.pretrained_str
        self.device = classifier.device
        self.top_level_settings = top_level_settings
        self.predictions: list[dict] = []
        self.start, self.end = _now(), None

    def add_prediction(self, images, **details) -> None:
        """Notes one call."""
        shown = [os.fspath(image) if isinstance(image, str | os.PathLike) else str(i) for i, image in enumerate(images)]
        self.predictions.append({"images": shown, "details": details})
        self.end = _now()

    def create_report(self, path: str, command_line: str | None) -> None:
        """Writes the record: JSON where the name ends in .json, else text after what the file holds."""
        verify_recorder_path(path)
        if _is_json(path):
            Path(path).write_text(json.dumps(self._as_dict(command_line), indent=4), encoding="utf-8")
        else:
            with open(path, "a", encoding="utf-8") as handle:
                handle.write("\n".join(self._lines(command_line)) + "\n\n")

    def _as_dict(self, command_line: str | None) -> dict:
        return {
            "linnaea_version": __version__,
            "start": self.start,
            "end": self.end,
            "command_line": command_line,
            "model": self.model_str,
            "pretrained": self.pretrained_str,
            "device": str(self.device),
            "top_level_settings": self.top_level_settings,
            "predictions": self.predictions,
        }

    def _lines(self, command_line: str | None) -> list[str]:
        title = f"** Prediction Log - linnaea v{__version__} - {self.start} to {self.end} **"
        lines = ["*" * len(title), title, "*" * len(title)]
        settings = {"command_line": command_line, "model": self.model_str, "pretrained": self.pretrained_str}
        settings |= {"device": self.device, **self.top_level_settings}
        lines += [f"{_title(key)}: {value}" for key, value in settings.items() if value is not None]
        for prediction in self.predictions:
            lines += [f"{_title(key)}: {value}" for key, value in prediction["details"].items()]
            lines += ["Images:", *prediction["images"]]
        return lines


def _title(key: str) -> str:
    return " ".join(word.capitalize() for word in key.split("_"))


def _is_json(path: str) -> bool:
    return str(path).endswith(".json")


def _now() -> str:
    return datetime.now().isoformat(timespec="seconds")
