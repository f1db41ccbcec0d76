"""pybioclip 2.1.6 as a worker in the peers' environment, offline, on a local checkpoint folder and name table.

    from pybioclip_peer import Peer                                             # project's side; alternates with ours
    with Peer(PEERS_PYTHON, model=CHECKPOINT_DIR, table=TABLE_DIR) as peer:      # table=None: custom labels only
        answer = peer.ask("predict", images=[...], rank="species", k=5, batch_size=10)   # result, seconds, peak_rss_mb

Requests and answers are single lines of JSON on the worker's stdin and stdout. Requests (`do` and its arguments):

- `predict` images | folder, rank, k, min_prob, batch_size: pybioclip's own list of dicts.
- `labels` images, labels, k, batch_size: makes a CustomLabelsClassifier (in `made_s`) and predicts.
- `bins` images, bins {label: bin}, k, batch_size: the same with a CustomLabelsBinningClassifier.
- `restrict` rank, names | csv: create_taxa_filter and apply_filter; without arguments it removes the filter.
- `features` images, normalize: writes float32 [n, d] to `out`, a .npy file.
- `score` vectors (a .npy of unit image vectors), rank, k, batch_size: the part of `predict` after the image tower.
- `preprocess` images: writes pybioclip's normalised pixels float32 [n, 3, 224, 224] to `out`.
- `cli` argv: the command `bioclip` in this process; `result` is its output.

Every answer has `seconds` (of the work alone), `rss_mb`, and `peak_rss_mb` since the request came (Linux, with mapped
pages). `peer.loaded` has `load_s`, the seconds to load the model and the table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

NAME = "hf-hub:imageomics/bioclip-2"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class Peer:
    """The project's side: start the worker, ask, and end it. Raise RuntimeError with the worker's message."""

    def __init__(
        self,
        python: str | Path,
        *,
        model: str | Path,
        table: str | Path | None = None,
        name: str = NAME,
        n_threads: int = 0,
    ):
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.loaded = self.ask(
            "load", model=str(model), table=None if table is None else str(table), name=name, n_threads=n_threads
        )

    def ask(self, do: str, **arguments) -> dict:
        """Return the worker's answer."""
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"pybioclip's worker ended with {self._process.wait()} during the request {do!r}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"pybioclip: {answer['error']}")
        return answer

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc) -> None:
        self.close()


# --- The worker's side: only what follows runs in the peers' environment


def use_local(model: str, table: str | None) -> None:
    """Replace the hub: every model is the folder `model`, every data file lies in the folder `table`."""
    import bioclip.predict
    import open_clip

    create, tokenizer = open_clip.create_model_from_pretrained, open_clip.get_tokenizer
    local = f"local-dir:{Path(model).absolute()}"
    open_clip.create_model_from_pretrained = lambda _name, **options: create(local, **{**options, "pretrained": None})
    open_clip.get_tokenizer = lambda model_name="": tokenizer(local)
    if table is not None:
        bioclip.predict.hf_hub_download = lambda repo_id, filename, repo_type: str(Path(table) / Path(filename).name)


class Worker:
    """The state on which the requests act."""

    def __init__(self):
        self.classifier = None
        self.name = NAME

    def load(self, model: str, table: str | None, name: str, n_threads: int = 0) -> dict:
        import torch
        from bioclip.predict import BaseClassifier, TreeOfLifeClassifier

        if n_threads:
            torch.set_num_threads(n_threads)
        use_local(model, table)
        self.name = name
        start = time.perf_counter()
        made = TreeOfLifeClassifier if table is not None else BaseClassifier
        self.classifier = made(model_str=name)
        return {"load_s": time.perf_counter() - start}

    def predict(self, images=None, folder=None, rank="species", k=5, min_prob=1e-9, batch_size=10) -> dict:
        from bioclip import Rank

        images = images if folder is None else _images_in(folder)
        options = {"min_prob": min_prob, "k": k, "batch_size": batch_size, "callback": _silent}
        return _timed(lambda: self.classifier.predict(images, Rank[rank.upper()], **options))

    def labels(self, images, labels, k=None, batch_size=10) -> dict:
        from bioclip.predict import CustomLabelsClassifier

        return self._custom(lambda: CustomLabelsClassifier(labels, model_str=self.name), images, k, batch_size)

    def bins(self, images, bins, k=None, batch_size=10) -> dict:
        from bioclip.predict import CustomLabelsBinningClassifier

        return self._custom(lambda: CustomLabelsBinningClassifier(bins, model_str=self.name), images, k, batch_size)

    @staticmethod
    def _custom(make, images, k, batch_size) -> dict:
        start = time.perf_counter()
        classifier = make()
        made_s = time.perf_counter() - start
        answer = _timed(lambda: classifier.predict(images, k=k, batch_size=batch_size, callback=_silent))
        return answer | {"made_s": made_s}

    def restrict(self, rank=None, names=None, csv=None) -> dict:
        from bioclip import Rank

        classifier = self.classifier
        if rank is None and csv is None:
            classifier._subset_txt_embeddings = classifier._subset_txt_names = None
            return {"result": len(classifier.txt_names)}

        def work():
            if csv is not None:
                keep = classifier.create_taxa_filter_from_csv(csv)
            else:
                keep = classifier.create_taxa_filter(Rank[rank.upper()], names)
            classifier.apply_filter(keep)
            return len(classifier.get_current_txt_names())

        return _timed(work)

    def features(self, images, out, normalize=True, batch_size=10) -> dict:
        import numpy as np

        def work():
            parts = []
            for start in range(0, len(images), batch_size):
                rgb = [self.classifier.ensure_rgb_image(image) for image in images[start : start + batch_size]]
                parts.append(self.classifier.create_image_features(rgb, normalize=normalize).numpy())
            np.save(out, np.concatenate(parts))

        return _timed(work)

    def preprocess(self, images, out) -> dict:
        import numpy as np

        c = self.classifier
        return _timed(lambda: np.save(out, np.stack([c.preprocess(c.ensure_rgb_image(path)) for path in images])))

    def score(self, vectors, rank="species", k=5, min_prob=1e-9, batch_size=10) -> dict:
        import numpy as np
        import torch
        from bioclip import Rank

        features = torch.from_numpy(np.load(vectors).astype(np.float32))
        rank, classifier = Rank[rank.upper()], self.classifier

        @torch.no_grad()
        def work():
            result = []
            for start in range(0, len(features), batch_size):
                table = classifier.get_txt_embeddings()
                probabilities = classifier.create_probabilities(features[start : start + batch_size], table)
                for i, row in enumerate(probabilities, start):
                    if rank == Rank.SPECIES:
                        result += classifier.format_species_probs(str(i), row, k)
                    else:
                        result += classifier.format_grouped_probs(str(i), row, rank, min_prob, k)
            return result

        return _timed(work)

    @staticmethod
    def cli(argv) -> dict:
        import contextlib
        import io

        from bioclip import __main__

        printed, before = io.StringIO(), sys.argv
        sys.argv = ["bioclip", *argv]
        try:
            with contextlib.redirect_stdout(printed):
                answer = _timed(__main__.main)
        finally:
            sys.argv = before
        return answer | {"result": printed.getvalue()}


def _silent(done: int, total: int) -> None:
    """Turn off pybioclip's progress bar by a callback."""


def _images_in(folder: str) -> list[str]:
    return [str(path) for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]


def _timed(work) -> dict:
    start = time.perf_counter()
    result = work()
    return {"seconds": time.perf_counter() - start, "result": result}


def _memory() -> dict:
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return {key: int(fields[field].split()[0]) / 1024 for key, field in (("rss_mb", "VmRSS"), ("peak_rss_mb", "VmHWM"))}


def _forget_peak() -> None:
    if os.path.exists("/proc/self/clear_refs"):
        Path("/proc/self/clear_refs").write_text("5")


def serve() -> None:
    """Answer requests until stdin ends. Other output goes to stderr, so that stdout has only answers."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        _forget_peak()
        start = time.perf_counter()
        try:
            answer = getattr(worker, request.pop("do"))(**request)
            answer = {"seconds": time.perf_counter() - start} | answer | _memory()
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the answer is the error)
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
