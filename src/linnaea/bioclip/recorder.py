"""A record of predictions beside the answers: model, settings, images, as text to append to or as JSON."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path

from linnaea import __version__
from linnaea.bioclip.ranks import PYBIOCLIP_VERSION
from linnaea.store import atomic_path


def verify_recorder_path(path: str) -> None:
    """Raise ValueError for a JSON file that exists; text is appended to an existing file."""
    if _is_json(path) and os.path.exists(path):
        raise ValueError(f"File {path} already exists. Please choose a different file name.")


def attach_prediction_recorder(classifier, **top_level_settings) -> PredictionRecorder:
    """A recorder of every later `predict` of the classifier."""
    recorder = PredictionRecorder(classifier, **top_level_settings)
    classifier.set_recorder(recorder)
    return recorder


def save_recorded_predictions(classifier, path: str, include_command_line: bool = True) -> None:
    """Write the calls that the classifier's recorder has recorded. Raise ValueError if there is no recorder."""
    if not classifier.recorder:
        raise ValueError(
            "The classifier does not have a recorder attached. Call attach_prediction_recorder before predict."
        )
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
        PredictionLogReport(self, command_line).save(path)


class PredictionLogReport:
    """The record of a recorder as JSON or as text."""

    def __init__(self, recorder: PredictionRecorder, command_line: str | None):
        self.recorder, self.command_line = recorder, command_line
        self.start, self.end = recorder.start, recorder.end

    def save(self, path: str) -> None:
        """Write JSON if the name ends in .json, else append text. Raise ValueError for a JSON file that exists."""
        verify_recorder_path(path)
        if _is_json(path):
            with atomic_path(Path(path)) as temporary_path:
                temporary_path.write_text(json.dumps(self.create_dictionary(), indent=4), encoding="utf-8")
        else:
            with open(path, "a", encoding="utf-8") as handle:
                handle.write("\n".join(self._make_lines()) + "\n\n")

    def create_dictionary(self) -> dict:
        """The record with pybioclip's keys, and the version of Linnaea."""
        return {
            "pybioclip_version": PYBIOCLIP_VERSION,
            "linnaea_version": __version__,
            "start": self.start,
            "end": self.end,
            "command_line": self.command_line,
            "model": self.recorder.model_str,
            "pretrained": self.recorder.pretrained_str,
            "device": str(self.recorder.device),
            "top_level_settings": self.recorder.top_level_settings,
            "predictions": self.recorder.predictions,
        }

    @staticmethod
    def format_key(key: str) -> str:
        """A key as a heading: "min_prob" -> "Min Prob"."""
        return " ".join(word.capitalize() for word in key.split("_"))

    def _make_lines(self) -> list[str]:
        recorder = self.recorder
        title = f"** Prediction Log - linnaea v{__version__} - {self.start} to {self.end} **"
        lines = ["*" * len(title), title, "*" * len(title)]
        settings = {"command_line": self.command_line, "model": recorder.model_str}
        settings |= {"pretrained": recorder.pretrained_str, "device": recorder.device, **recorder.top_level_settings}
        lines += [f"{self.format_key(key)}: {value}" for key, value in settings.items() if value is not None]
        for prediction in recorder.predictions:
            lines += [f"{self.format_key(key)}: {value}" for key, value in prediction["details"].items()]
            lines += ["Images:", *prediction["images"]]
        return lines


def _is_json(path: str) -> bool:
    return str(path).endswith(".json")


def _format_now() -> str:
    return datetime.now().isoformat(timespec="seconds")
