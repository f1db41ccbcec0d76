"""Write what pybioclip 2.1.6 answers for a tiny random model and name table to tests/golden/pybioclip.json.

The photographs are synthetic. It takes half a minute. The tests make the same inputs with `make_inputs`, without
pybioclip.

    python benchmarks/golden_pybioclip.py PEERS          # the folder of benchmarks/peers.py
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from peers import peer_python
from pybioclip_peer import Peer
from random_checkpoint import ARCHITECTURES, write_checkpoint

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "pybioclip.json"
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
LABELS = ("cat", "a small bird", "Felis catus", "wheatear")
BINS = {"cat": "animal", "a small bird": "animal", "oak": "plant", "fly agaric": "fungus"}
SUBSET = "class\nAves\nMagnoliopsida\n"
# Width and height: wide, tall, smaller than the model's square, more than twice its side.
SIZES = ((300, 180), (150, 400), (96, 120), (640, 480), (224, 224))

_BIRDS = "Animalia Chordata Aves Passeriformes"
_CATS = "Animalia Chordata Mammalia Carnivora Felidae"
_PLANTS = "Plantae Tracheophyta Magnoliopsida"
_FUNGI = "Fungi Basidiomycota Agaricomycetes"
# A lineage down to the genus, then epithets with their common names. Oenanthe is a bird and a plant.
TAXA = {
    f"{_CATS} Felis": {"catus": "Domestic Cat", "silvestris": "European Wildcat", "chaus": "Jungle Cat"},
    f"{_CATS} Panthera": {"leo": "Lion", "tigris": "Tiger", "pardus": ""},
    "Animalia Chordata Mammalia Carnivora Canidae Vulpes": {"vulpes": "Red Fox", "lagopus": "Arctic Fox"},
    f"{_BIRDS} Muscicapidae Oenanthe": {
        "oenanthe": "Northern Wheatear",
        "deserti": "Desert Wheatear",
        "pleschanka": "",
    },
    f"{_BIRDS} Paridae Parus": {"major": "Great Tit", "minor": "Japanese Tit"},
    f"{_BIRDS} Fringillidae Fringilla": {"coelebs": "Common Chaffinch", "montifringilla": "Brambling"},
    f"{_PLANTS} Apiales Apiaceae Oenanthe": {"crocata": "Hemlock Water-dropwort", "aquatica": ""},
    f"{_PLANTS} Fagales Fagaceae Quercus": {"robur": "English Oak", "petraea": "Sessile Oak", "ilex": "Holm Oak"},
    f"{_PLANTS} Rosales Rosaceae Rosa": {"canina": "Dog Rose", "uva-crispa": ""},
    f"{_FUNGI} Agaricales Amanitaceae Amanita": {"muscaria": "Fly Agaric", "caesarea": "", "phalloides": "Death Cap"},
    "Animalia Arthropoda Insecta Diptera Syrphidae Eristalis": {"tenax": "Drone Fly", "arbustorum": ""},
    "Animalia Arthropoda Insecta Coleoptera Coccinellidae Coccinella": {"septempunctata": "Seven-spotted Lady Beetle"},
}


def names() -> list[list]:
    """Return the table's columns, [[seven ranks], common name], in an order that is not the tree's."""
    listed = [
        [[*genus.split(), epithet], common] for genus, species in TAXA.items() for epithet, common in species.items()
    ]
    return [listed[i] for i in np.random.default_rng(5).permutation(len(listed))]


def write_table(folder: Path, dim: int) -> None:
    """Write both files of a published table: random unit columns, close enough that several taxa are likely."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(6)
    table_dn = 4 * rng.standard_normal((dim, 1), np.float32) + rng.standard_normal((dim, len(names())), np.float32)
    np.save(folder / "txt_emb_species.npy", table_dn / np.linalg.norm(table_dn, axis=0))
    (folder / "txt_emb_species.json").write_text(json.dumps(names()), encoding="utf-8")


def write_photos(folder: Path) -> list[str]:
    """Write lossless pictures with coarse and fine structure; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (width, height) in enumerate(SIZES):
        rng = np.random.default_rng(number)
        cell = 8 + 6 * number
        coarse = rng.integers(0, 200, (-(-height // cell), -(-width // cell), 3))
        blocks = np.kron(coarse, np.ones((cell, cell, 1), np.int64))[:height, :width]
        pixels = blocks + rng.integers(0, 56, (height, width, 3))
        paths.append(str(folder / f"photo{number}.png"))
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return paths


def make_inputs(folder: Path) -> list[str]:
    """Write `model`, `table`, `photos`, `subset.csv` and `bins.csv` to the folder; return the photographs' paths."""
    architecture = ARCHITECTURES["tiny"]
    write_checkpoint(folder / "model", architecture)
    write_table(folder / "table", architecture["embed_dim"])
    (folder / "subset.csv").write_text(SUBSET)
    (folder / "bins.csv").write_text("label,bin\n" + "".join(f"{label},{bin_}\n" for label, bin_ in BINS.items()))
    return write_photos(folder / "photos")


def ask_pybioclip(python: Path, folder: Path) -> dict:
    """Return all answers that the tests compare with."""
    photos = make_inputs(folder)
    features = folder / "features.npy"
    with Peer(python, model=folder / "model", table=folder / "table") as peer:
        found = {rank: peer.ask("predict", images=photos, rank=rank, k=5)["result"] for rank in RANKS}
        found["labels"] = peer.ask("labels", images=photos, labels=LABELS)["result"]
        found["bins"] = peer.ask("bins", images=photos, bins=BINS, k=2)["result"]
        peer.ask("features", images=photos, normalize=False, out=str(features))
        found["features"] = np.load(features).astype(np.float64).round(6).tolist()
        peer.ask("restrict", csv=str(folder / "subset.csv"))
        found["subset"] = peer.ask("predict", images=photos, rank="species", k=3)["result"]
        found["csv"] = peer.ask("cli", argv=["predict", *photos[:2], "--rank", "order", "--k", "2"])["result"]
        found["table"] = peer.ask("cli", argv=["predict", *photos[:2], "--cls", "cat,oak", "--format", "table"])[
            "result"
        ]
        found["taxa"] = peer.ask("cli", argv=["list-tol-taxa"])["result"]
    # For any other name on the hub pybioclip uses the checkpoint's own preprocessing.
    with Peer(python, model=folder / "model", name="hf-hub:somebody/other") as peer:
        found["labels_own_pixels"] = peer.ask("labels", images=photos, labels=LABELS)["result"]
    return found


def main() -> None:
    """Run the command: write the golden file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "peers", type=Path, metavar="PEERS", help="folder of the peers' environment, made if it is missing"
    )
    python = peer_python(parser.parse_args().peers.absolute())
    with tempfile.TemporaryDirectory() as folder:
        found = ask_pybioclip(python, Path(folder))
        text = json.dumps(found, indent=1).replace(f"{folder}/photos/", "")
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(text + "\n", encoding="utf-8")
    print(GOLDEN)


if __name__ == "__main__":
    main()
