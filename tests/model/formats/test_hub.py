"""Checkpoints from a hub on this machine that breaks off, lies and goes away."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from linnaea.model.formats.hub import fetch_checkpoint

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
REPOSITORY = "imageomics/bioclip-2"
COMMIT, NEXT_COMMIT = "c" * 40, "d" * 40
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


class Hub:
    """Files by commit, and what the server did and is to do wrong."""

    def __init__(self):
        self.main = COMMIT
        self.files = {COMMIT: {CONFIG: b"{}", WEIGHTS: bytes(range(256)) * 4000}}
        self.cuts: list[int] = []  # bytes after which the next answers with weights break off
        self.sent: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.tokens: list[tuple[str, str]] = []
        self.missing = self.gated = self.no_ranges = self.redirect = False


def handler(hub: Hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def _refuse(self, status: int, code: str):
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            if code == "EntryNotFound":
                self.send_header("X-Repo-Commit", hub.main)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _answer(self, body: bool):
            if hub.missing or hub.gated:
                return self._refuse(403 if hub.gated else 404, "GatedRepo" if hub.gated else "RepoNotFound")
            _owner, _name, _, revision, file = self.path.strip("/").split("/")
            hub.requests.append((self.command, file, self.headers.get("Range", "")))
            commit = hub.main if revision == "main" else revision
            if commit not in hub.files:
                return self._refuse(404, "RevisionNotFound")
            if file not in hub.files[commit]:
                return self._refuse(404, "EntryNotFound")
            true = hub.files[commit][file]
            content = hub.sent.get(file, true)
            if file == CONFIG:
                tag = hashlib.sha1(b"blob %d\0" % len(true) + true).hexdigest()
            else:
                tag = hashlib.sha256(true).hexdigest()
            host = self.headers["Host"]
            hub.tokens.append((host, self.headers.get("Authorization", "")))
            redirected = hub.redirect and file == WEIGHTS and host.startswith("127.")
            asked = self.headers.get("Range") if not hub.no_ranges else None
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.send_response(302 if redirected else 206 if start else 200)
            if redirected:
                self.send_header("Location", f"http://localhost:{host.partition(':')[2]}{self.path}")
                self.send_header("X-Linked-ETag", f'"{tag}"')
            self.send_header("X-Repo-Commit", commit)
            self.send_header("X-Linked-Size", str(len(true)))
            self.send_header("ETag", f'"{tag}"')
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if body:
                end = len(content)
                if hub.cuts and file == WEIGHTS:
                    end = min(end, start + hub.cuts.pop(0))
                    self.close_connection = True
                self.wfile.write(content[start:end])

        def do_HEAD(self):
            self._answer(body=False)

        def do_GET(self):
            self._answer(body=True)

    return Handler


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub at 127.0.0.1 that huggingface_hub takes for the true one, and empty caches."""
    constants = pytest.importorskip("huggingface_hub.constants")
    made = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(made))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("linnaea.model.formats.hub.PAUSE_S", 0)

    def close():
        server.shutdown()
        server.server_close()

    made.close = close
    yield made
    close()


def fault(name=REPOSITORY, error=ValueError):
    with pytest.raises(error) as raised:
        fetch_checkpoint(name)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_checkpoint_is_fetched_whole_and_named_by_its_commit(hub):
    fetched = fetch_checkpoint(REPOSITORY)
    assert (fetched.repository, fetched.commit) == (REPOSITORY, COMMIT)
    assert (fetched.checkpoint_dir / WEIGHTS).read_bytes() == hub.files[COMMIT][WEIGHTS]
    assert (fetched.checkpoint_dir / CONFIG).read_bytes() == b"{}"


def starts(hub):
    return [start for command, file, start in hub.requests if (command, file) == ("GET", WEIGHTS)]


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(hub):
    hub.cuts = [100_000]
    fetched = fetch_checkpoint(REPOSITORY)
    assert (fetched.checkpoint_dir / WEIGHTS).read_bytes() == hub.files[COMMIT][WEIGHTS]
    assert starts(hub) == ["", f"bytes={100_000}-"]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(hub):
    hub.cuts = [100_000] + 20 * [0]
    assert "run again to continue, what was received is kept" in fault(error=ConnectionError)
    hub.cuts = []
    hub.requests.clear()
    fetched = fetch_checkpoint(REPOSITORY)
    assert (fetched.checkpoint_dir / WEIGHTS).read_bytes() == hub.files[COMMIT][WEIGHTS]
    assert starts(hub) == [f"bytes={100_000}-"]


def test_a_file_that_is_not_what_the_hub_says_is_removed_and_can_be_fetched_anew(hub):
    true = hub.files[COMMIT][WEIGHTS]
    hub.sent = {WEIGHTS: true[:-1] + b"?"}
    assert "has the wrong hash" in fault()
    hub.sent = {}
    assert (fetch_checkpoint(REPOSITORY).checkpoint_dir / WEIGHTS).read_bytes() == true
    hub.sent = {CONFIG: b"[]"}
    hub.main = NEXT_COMMIT
    hub.files[NEXT_COMMIT] = {**hub.files[COMMIT], CONFIG: b"{ }"[:2]} | {CONFIG: b"()"}
    assert CONFIG in fault(f"{REPOSITORY}@main")


def test_a_file_that_was_damaged_later_is_noticed(hub):
    path = (fetch_checkpoint(REPOSITORY).checkpoint_dir / WEIGHTS).resolve()
    path.write_bytes(b"?" + path.read_bytes()[1:])
    assert "has the wrong hash" in fault()
    assert not path.exists()


def test_the_commit_that_came_first_stays_until_another_is_asked_for(hub):
    fetch_checkpoint(REPOSITORY)
    hub.main, hub.files[NEXT_COMMIT] = NEXT_COMMIT, {CONFIG: b"[1]", WEIGHTS: b"new"}
    hub.requests.clear()
    assert fetch_checkpoint(REPOSITORY).commit == COMMIT
    assert not hub.requests  # and the hub is not even asked
    newer = fetch_checkpoint(f"{REPOSITORY}@main")
    assert newer.commit == NEXT_COMMIT
    assert (newer.checkpoint_dir / WEIGHTS).read_bytes() == b"new"
    assert fetch_checkpoint(f"{REPOSITORY}@{COMMIT}").commit == COMMIT
    assert fetch_checkpoint(REPOSITORY).commit == COMMIT


def test_what_another_program_fetched_serves_without_a_connection(hub, monkeypatch):
    from huggingface_hub import constants, hf_hub_download

    for file in (CONFIG, WEIGHTS):
        hf_hub_download(REPOSITORY, file)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert fetch_checkpoint(REPOSITORY).commit == COMMIT
    assert not hub.requests


def test_without_a_connection_the_remedy_is_named(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set; unset it, or give a folder" in fault(error=ConnectionError)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.close()
    assert "could not be downloaded" in fault(error=ConnectionError)


def test_weights_as_bin_are_the_second_choice(hub):
    hub.files[COMMIT]["open_clip_pytorch_model.bin"] = b"x"
    del hub.files[COMMIT][WEIGHTS]
    fetched = fetch_checkpoint(REPOSITORY)
    assert (fetched.checkpoint_dir / "open_clip_pytorch_model.bin").read_bytes() == b"x"
    hub.requests.clear()
    fetch_checkpoint(REPOSITORY)
    assert not hub.requests


def test_weights_that_are_here_serve_when_the_hub_cannot_be_asked_for_better_ones(hub, monkeypatch):
    from huggingface_hub import constants, hf_hub_download

    hub.files[COMMIT]["open_clip_pytorch_model.bin"] = b"x"
    for file in (CONFIG, "open_clip_pytorch_model.bin"):
        hf_hub_download(REPOSITORY, file)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert (fetch_checkpoint(REPOSITORY).checkpoint_dir / "open_clip_pytorch_model.bin").read_bytes() == b"x"


def test_each_kind_of_refusal_has_its_own_line(hub):
    assert "must be hf-hub:owner/name" in fault("bioclip")
    assert "has no revision 'v9'" in fault(f"{REPOSITORY}@v9")
    del hub.files[COMMIT][WEIGHTS]
    assert "has no weights in open_clip's format" in fault()
    del hub.files[COMMIT][CONFIG]
    assert "is not an open_clip checkpoint" in fault()
    hub.missing = True
    assert "does not exist or is private" in fault("imageomics/bioclip-9")
    hub.missing, hub.gated = False, True
    assert "accept them on its page and set HF_TOKEN" in fault("imageomics/secret")


def test_a_pin_that_cannot_be_read_is_made_anew(hub):
    pin = fetch_checkpoint(REPOSITORY).checkpoint_dir.parent / "pin.json"
    assert json.loads(pin.read_text()) == {"commit": COMMIT}
    pin.write_text("[]")
    assert fetch_checkpoint(REPOSITORY).commit == COMMIT
    assert json.loads(pin.read_text()) == {"commit": COMMIT}


def test_a_server_that_knows_no_ranges_is_asked_for_everything(hub):
    hub.no_ranges = True
    hub.cuts = [100_000]
    fetched = fetch_checkpoint(REPOSITORY)
    assert (fetched.checkpoint_dir / WEIGHTS).read_bytes() == hub.files[COMMIT][WEIGHTS]


def test_progress_is_told_in_bytes(hub):
    heard = []
    fetch_checkpoint(REPOSITORY, report=lambda *args: heard.append(args))
    assert heard[-1] == (WEIGHTS, 1_024_000, 1_024_000)


def test_the_token_goes_to_the_hub_and_not_to_the_store_behind_it(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.redirect = True
    fetched = fetch_checkpoint(REPOSITORY)
    assert (fetched.checkpoint_dir / WEIGHTS).read_bytes() == hub.files[COMMIT][WEIGHTS]
    assert {token for host, token in hub.tokens if host.startswith("127.")} == {"Bearer hf_secret"}
    assert {token for host, token in hub.tokens if host.startswith("localhost")} == {""}


def test_a_name_on_the_hub_is_a_model_like_any_other(hub, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    from linnaea.model.loading import load_model

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from random_checkpoint import write_checkpoint

    vision = {"image_size": 8, "layers": 1, "width": 8, "patch_size": 4, "head_width": 8, "is_continual": True}
    text = {"context_length": 8, "vocab_size": 49408, "width": 4, "heads": 1, "layers": 1}
    write_checkpoint(tmp_path / "made", {"embed_dim": 4, "vision_cfg": vision, "text_cfg": text})
    hub.files[COMMIT] = {file: (tmp_path / "made" / file).read_bytes() for file in (CONFIG, WEIGHTS)}
    first, second = load_model(f"hf-hub:{REPOSITORY}"), load_model(f"hf-hub:{REPOSITORY}@main#second")
    assert first.card.name == f"{REPOSITORY}@{COMMIT[:12]}"
    assert first.card.hash == load_model(str(tmp_path / "made")).card.hash
    image = np.full((1, 8, 8, 3), 200, np.uint8)
    assert first.encode_images(image).shape == (1, 4)
    assert np.abs(first.encode_images(image) - second.encode_images(image)).max() > 1e-3
