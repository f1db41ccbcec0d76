"""Compare names per second through a checkpoint's text tower with open_clip's encode_text, and their vectors.

    PEERS=$(python benchmarks/peers.py DIR)
    $PEERS benchmarks/random_checkpoint.py vit-l-14 CHECKPOINTS/vit-l-14
    python benchmarks/names_speed.py --peers DIR CHECKPOINTS/vit-l-14

Both models are loaded at once and take turns in every round. Names are whole genera drawn at random from the default
vocabulary, written with their lineage. Ours embeds all of them, from text to vector. open_clip (eager, float32, in
batches, texts already tokenised) embeds a few of them, others in each round: its cost is the same for every text, 77
tokens. Then both do the same with an average over 80 sentences, for fewer names. The page states the ceiling first: the
distinct tokens, the cost of a token, and the fastest float32 product on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

BATCH = 64
SEED = 0


# --- The peer: runs in the peers' environment


def serve(checkpoint: str) -> None:
    """Run open_clip as a worker: it reads a line with texts, answers with seconds, and writes the vectors to a file."""
    import open_clip
    import torch

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    model, _, _preprocess = open_clip.create_model_and_transforms(f"local-dir:{checkpoint}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{checkpoint}")
    model.eval()
    for line in sys.stdin:
        request = json.loads(line)
        tokens = tokenize(request["texts"])
        parts, seconds = [], 0.0
        with torch.inference_mode():
            for start in range(0, len(tokens), BATCH):
                begun = time.perf_counter()
                parts.append(model.encode_text(tokens[start : start + BATCH], normalize=True))
                seconds += time.perf_counter() - begun
        np.save(request["out"], torch.cat(parts).numpy())
        print(json.dumps({"seconds": seconds}), file=answers, flush=True)


class Peer:
    """The project's side of the worker."""

    def __init__(self, folder: Path, checkpoint: Path):
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
        command = [str(folder / "bin" / "python"), __file__, "--serve", str(checkpoint)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def encode(self, texts: list[str]) -> tuple[np.ndarray, float]:
        """Return unit vectors float32 [n, d] and the seconds that they took."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "vectors.npy"
            print(json.dumps({"texts": texts, "out": str(out)}), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
            if not answer:
                raise RuntimeError("open_clip ended; see its message above")
            return np.load(out), json.loads(answer)["seconds"]

    def close(self) -> None:
        """End the worker."""
        self._process.stdin.close()
        self._process.wait(timeout=60)


# --- The project's side


def draw_names(n: int) -> tuple[list[str], int]:
    """Return at least `n` names with their lineages, in the order of the tree, and the number of their genera."""
    from linnaea.taxonomy.name_text import taxon_text
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    tree = load_vocabulary().tree
    genera = np.random.default_rng(SEED).permutation(tree.nodes_at("genus"))
    size = (tree.end_k - tree.start_k)[genera]
    genera = np.sort(genera[: int(np.searchsorted(np.cumsum(size), n)) + 1])
    leaves = np.concatenate([np.arange(tree.start_k[genus], tree.end_k[genus]) for genus in genera])
    return [taxon_text(tree.lineage(node), "taxonomic") for node in tree.leaf_node_n[leaves].tolist()], len(genera)


def count_tokens(model, texts: list[str]) -> tuple[int, int, float]:
    """Return the distinct tokens of the texts' trie, the tokens in the packed rows, and the mean length of a text."""
    from linnaea.model.runtimes.token_trie import _build_trie

    ids = model.tokenizer.ids(sorted(texts))
    distinct, before = 0, []
    for row in sorted(ids):
        shared = next(
            (i for i, (a, b) in enumerate(zip(row, before, strict=False)) if a != b), min(len(row), len(before))
        )
        distinct, before = distinct + len(row) - shared, row
    return distinct, len(_build_trie(ids).tokens), statistics.mean(map(len, ids))


def compare(model, peer: Peer, texts: list[str], embed, n_peer: int, rounds: int) -> tuple[list, list, float]:
    """Return seconds per text of ours and of open_clip in each round, and the largest difference of their vectors.

    `embed()` embeds all texts and returns the vectors [n, d] of the texts themselves, in their order.
    """
    rng, ours, theirs, worst = np.random.default_rng(SEED + 1), [], [], 0.0
    order = rng.permutation(len(texts))
    for number in range(rounds):
        begun = time.perf_counter()
        vectors_nd = embed()
        ours.append((time.perf_counter() - begun) / len(texts))
        chosen = order[(np.arange(n_peer) + number * n_peer) % len(texts)]
        peer_nd, seconds = peer.encode([texts[i] for i in chosen])
        theirs.append(seconds / n_peer)
        worst = max(worst, float(abs(peer_nd - vectors_nd[chosen]).max()))
        print(f"round {number + 1}: {1 / ours[-1]:.1f} against {1 / theirs[-1]:.1f} texts/s", file=sys.stderr)
    return ours, theirs, worst


def table_line(what: str, n: int, ours: list, theirs: list, worst: float) -> str:
    """Return one line of the result's table."""
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    speeds = f"{1 / statistics.median(ours):,.1f} | {1 / statistics.median(theirs):,.1f}"
    spread = f"**{statistics.median(ratios):.1f}** ({ratios[0]:.1f}–{ratios[-1]:.1f})"
    return f"| {what} | {n:,} | {speeds} | {spread} | {worst:.1e} |"


def measure(arguments: argparse.Namespace) -> list[str]:
    """Return the lines of the result."""
    from hardware import describe_hardware, measure_sgemm, show_command
    from linnaea.model.core.templates import IMAGENET_TEMPLATES
    from linnaea.model.loading import load_model

    model = load_model(str(arguments.checkpoint))
    peer = Peer(arguments.peers, arguments.checkpoint)
    names, n_genera = draw_names(arguments.names)
    few, _ = draw_names(arguments.template_names)
    prompt = model.card.templates[0]
    texts = [prompt.format(name) for name in names]
    many = [template.format(name) for template in IMAGENET_TEMPLATES for name in few]
    model.encode_texts(texts[:200])
    peer.encode(texts[:BATCH])
    distinct, computed, mean_length = count_tokens(model, texts)
    one = compare(model, peer, texts, lambda: model.encode_texts(texts), arguments.peer_texts, arguments.rounds)

    def embed_templates() -> np.ndarray:
        n = len(few)
        return np.concatenate([model.encode_texts(many[start : start + n]) for start in range(0, len(many), n)])

    eighty = compare(model, peer, many, embed_templates, arguments.peer_texts, arguments.template_rounds)
    peer.close()
    sgemm = measure_sgemm()
    config = model.text_config
    macs = config.n_layers * (4 + 2 * config.mlp_ratio) * config.width**2
    floor_s = distinct * macs / sgemm / len(texts)
    context = config.context
    return [
        f"# Names to vectors: {arguments.checkpoint.name}, text tower",
        "",
        f"- {describe_hardware()}",
        f"- `{show_command('names_speed', sys.argv[1:])}`",
        (
            f"- Ceiling: {len(texts):,} names of {n_genera:,} genera, {mean_length:.1f} tokens each, have "
            f"{distinct / len(texts):.2f} distinct tokens per name, where open_clip computes {context} "
            f"({context * len(texts) / distinct:.1f} times as many). A token costs {macs / 1e6:.0f} M multiply-adds; "
            f"the fastest float32 product does {sgemm / 1e9:.0f} G/s: at most {1 / floor_s:,.0f} names/s, of which "
            f"{100 * floor_s / statistics.median(one[0]):.0f} % are reached."
        ),
        f"- With the beginnings that each row repeats, {computed / len(texts):.2f} tokens per name are computed.",
        (
            f"- open_clip's {context} tokens per text allow at most {sgemm / macs / context:.1f} texts/s "
            "by the same product."
        ),
        (
            f"- Medians of {arguments.rounds} and {arguments.template_rounds} rounds; ratios within a round. open_clip "
            f"embeds {arguments.peer_texts} texts per round in batches of {BATCH}, float32, eager. The time of our "
            f"tokenising is included, that of open_clip's is not."
        ),
        "",
        "| texts | n | ours, texts/s | open_clip, texts/s | speed-up | largest difference |",
        "| --- | --- | --- | --- | --- | --- |",
        table_line(f"`{prompt}`, lineage", len(texts), *one),
        table_line(f"80 sentences of {len(few)} names", len(many), *eighty),
        "",
        (
            f"A name averaged over 80 sentences takes {80e3 * statistics.median(eighty[0]):.0f} ms with ours and "
            f"{80e3 * statistics.median(eighty[1]):.0f} ms with open_clip."
        ),
    ]


def main() -> None:
    """Run the command: write a result file to --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="the environment that benchmarks/peers.py made")
    parser.add_argument("--names", type=int, default=5000)
    parser.add_argument("--template-names", type=int, default=60)
    parser.add_argument("--peer-texts", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--template-rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(str(arguments.checkpoint))
    if arguments.peers is None:
        parser.error("--peers is missing; make the environment with benchmarks/peers.py")
    from hardware import write_result

    write_result(arguments.out, f"names_speed_{arguments.checkpoint.name}", measure(arguments))


if __name__ == "__main__":
    main()
