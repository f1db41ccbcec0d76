"""A record of predictions beside the answers: model, settings, images, as text to append to or as JSON."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path

from linnaea import __version__
from linnaea.store import atomic_path


def verify_recorder_path(path: str) -> None:
    """Raise FileExistsError for a JSON file that exists; text is appended to an existing file."""
    if _is_json(path) and os.path.exists(path):
        raise FileExistsError(f"{path} exists already; give another file, or one that is not JSON to append to")


def attach_prediction_recorder(classifier, **top_level_settings) -> PredictionRecorder:
    """A recorder of every later `predict` of the classifier."""
    recorder = PredictionRecorder(classifier, **top_level_settings)
    classifier.set_recorder(recorder)
    return recorder


def save_recorded_predictions(classifier, path: str, include_command_line: bool = True) -> None:
    """Write the calls that the classifier's recorder has recorded. Raise ValueError if there is no recorder."""
    if not classifier.recorder:
        raise ValueError("the classifier has no recorder; call attach_prediction_recorder before predict")
    classifier.recorder.create_report(path, " ".join(sys.argv) if include_command_line else None)


class PredictionRecorder:
    """The calls of a classifier. `predictions` holds the images and the settings of each call."""

    def __init__(self, classifier, **top_level_settings):
        self.model_str, self.pretrained_str = classifier.model_str, classifier.pretrained_str
        self.device = classifier.device
        self.top_level_settings = top_level_settings
        self.predictions: list[dict] = []
        self.start, self.end = _format_now(), None

    def add_prediction(self, images, **details) -> None:
        """Record one call."""
        shown = [os.fspath(image) if isinstance(image, str | os.PathLike) else str(i) for i, image in enumerate(images)]
        self.predictions.append({"images": shown, "details": details})
        self.end = _format_now()

    def create_report(self, path: str, command_line: str | None) -> None:
        """Write the record: JSON if the name ends in .json, else text appended to the file."""
        verify_recorder_path(path)
        if _is_json(path):
            with atomic_path(Path(path)) as temporary_path:
                text = json.dumps(self._make_dict(command_line), indent=4)
                temporary_path.write_text(text, encoding="utf-8")
        else:
            with open(path, "a", encoding="utf-8") as handle:
                handle.write("\n".join(self._make_lines(command_line)) + "\n\n")

    def _make_dict(self, command_line: str | None) -> dict:
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

    def _make_lines(self, command_line: str | None) -> list[str]:
        title = f"** Prediction Log - linnaea v{__version__} - {self.start} to {self.end} **"
        lines = ["*" * len(title), title, "*" * len(title)]
        settings = {"command_line": command_line, "model": self.model_str, "pretrained": self.pretrained_str}
        settings |= {"device": self.device, **self.top_level_settings}
        lines += [f"{_make_title(key)}: {value}" for key, value in settings.items() if value is not None]
        for prediction in self.predictions:
            lines += [f"{_make_title(key)}: {value}" for key, value in prediction["details"].items()]
            lines += ["Images:", *prediction["images"]]
        return lines


def _make_title(key: str) -> str:
    return " ".join(word.capitalize() for word in key.split("_"))


def _is_json(path: str) -> bool:
    return str(path).endswith(".json")


def _format_now() -> str:
    return datetime.now().isoformat(timespec="seconds")
