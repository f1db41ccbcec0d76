"""Detectors in ONNX: small graphs in the layouts of YOLO's exports, made here."""

import numpy as np
import pytest
from PIL import Image

from linnaea.identify.detection.onnx_detector import OnnxDetector, load_detector, suppress_overlaps
from onnx_networks import list_candidates, write_network

pytest.importorskip("onnx")


@pytest.mark.parametrize("layout", ["v5", "v8", "final"])
@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_every_layout_gives_the_boxes_in_pixels_of_the_photograph(tmp_path, layout, kind):
    detector = OnnxDetector(write_network(tmp_path / "d.onnx", list_candidates(layout), kind=kind), 0.2)
    # 128 × 64: half the size, with bars of 16 above and below.
    animal, person = detector(Image.new("RGB", (128, 64)))
    assert (animal.left, animal.top, animal.right, animal.bottom) == pytest.approx((16, 0, 80, 64), abs=0.5)
    assert (person.left, person.top, person.right, person.bottom) == pytest.approx((100, 8, 120, 56), abs=0.5)
    assert [(box.label, round(box.confidence, 2)) for box in (animal, person)] == [("animal", 0.9), ("person", 0.6)]


def test_fractions_names_and_a_free_input_size(tmp_path):
    names = {0: "zebra", 1: "lion", 2: "car"}
    network = write_network(
        tmp_path / "d.onnx", list_candidates("v8", fraction=True), names=names, size=("height", "width")
    )
    zebra, lion = OnnxDetector(network, 0.2)(Image.new("RGB", (640, 640)))
    assert (zebra.label, lion.label) == ("zebra", "lion")
    assert (zebra.left, zebra.bottom) == pytest.approx((80, 480), abs=1)


def test_a_confidence_below_the_least_gives_no_box(tmp_path):
    network = write_network(tmp_path / "d.onnx", list_candidates("v5"))
    assert [box.label for box in OnnxDetector(network, 0.7)(Image.new("RGB", (64, 64)))] == ["animal"]


def test_other_files_and_layouts_are_refused_with_the_reason(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone.onnx does not exist"):
        OnnxDetector(tmp_path / "gone.onnx", 0.2)
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(ValueError, match=r"text.onnx is not an ONNX network"):
        OnnxDetector(tmp_path / "text.onnx", 0.2)
    odd = write_network(tmp_path / "odd.onnx", np.zeros((1, 11, 13), np.float32))
    with pytest.raises(ValueError, match=r"output \[1, 11, 13\] fits no layout for 3 classes"):
        OnnxDetector(odd, 0.2)(Image.new("RGB", (64, 64)))


def test_boxes_of_different_classes_do_not_suppress_each_other():
    corners = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [1, 1, 11, 11], [30, 30, 40, 40]], np.float32)
    kept = suppress_overlaps(corners, np.array([0.5, 0.9, 0.8, 0.1]), np.array([0, 0, 1, 0]))
    assert kept == [1, 2, 3]


def test_a_detector_is_loaded_once(tmp_path):
    network = write_network(tmp_path / "d.onnx", list_candidates("v5"))
    assert load_detector(network, 0.2) is load_detector(network, 0.2)
