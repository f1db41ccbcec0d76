"""Compare rules that name an event from its frames, on simulated bursts of photographs whose taxon is known.

    python benchmarks/event_pooling.py --photographs DIR [--photographs DIR] --work DIR

Each DIR holds `manifest.csv` (file, split, scientific, kingdom … genus) and the photographs; those of split `val` are
used. A burst is 2 to 5 frames of one photograph: each is a crop (40 to 100 % of each side), with its own light, blur
and noise, and a part that all frames of the burst share. With a probability of 0.15 a frame is replaced by a photograph
without an organism (`scientific` and `kingdom` empty). Frames are named by the bundled model as `linnaea identify`
does. A rule gives each event its deepest taxon with a pooled probability of at least the floor. For each rule the
floor is varied until 5 % (and 3 %) of the given names are wrong; the table then says how many events have a right name,
at species and at any rank, and the sum of right ranks (7 for a right species, 5 for a right family). The last columns
hold the floor of the model: what a user gets.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from hardware import describe_hardware, show_command, write_result

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

from linnaea.identify.naming.event_pooling import pool_names
from linnaea.records import RANKS

BLANK_SHARE = 0.15
FLOOR = 0.96
ERRORS = (0.03, 0.05)


def read_photographs(folders: Sequence[Path], rng: random.Random) -> tuple[list[tuple[Path, list[str]]], list[Path]]:
    """The photographs of split `val` with their lineages, and those without an organism."""
    known, empty = [], []
    for folder in folders:
        for row in csv.DictReader((folder / "manifest.csv").read_text(encoding="utf-8").splitlines()):
            path = folder / "images" / row["file"]
            path = path if path.exists() else folder / row["file"]
            if row["split"] != "val" or not path.exists():
                continue
            lineage = [row.get(rank, "") for rank in RANKS[:-1]] + [row["scientific"]]
            if row["kingdom"]:
                known.append((path, lineage))
            else:
                empty.append(path)
    rng.shuffle(known)
    return known, empty


def make_frame(image: Image.Image, rng: random.Random, shared: tuple[float, float]) -> Image.Image:
    """A crop of the photograph with other light, blur and noise; `shared` are light and blur of the burst."""
    width, height = image.size
    part = rng.uniform(0.4, 1.0)
    left, top = rng.uniform(0, (1 - part) * width), rng.uniform(0, (1 - part) * height)
    frame = image.crop((left, top, left + part * width, top + part * height))
    frame = ImageEnhance.Brightness(frame).enhance(shared[0] * rng.uniform(0.7, 1.3))
    blur = shared[1] + rng.choice((0, 0, rng.uniform(0, 0.02)))
    frame = frame.filter(ImageFilter.GaussianBlur(blur * min(frame.size)))
    noise = np.random.default_rng(rng.randrange(1 << 30)).normal(0, rng.uniform(0, 12), (*frame.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(frame.convert("RGB")) + noise, 0, 255).astype(np.uint8))


def make_bursts(work_dir: Path, photographs: list, empty: list[Path], n: int, seed: int) -> list[dict]:
    """Write the frames of `n` bursts; one record for each burst: lineage, frames."""
    rng, bursts = random.Random(seed), []
    for number, (path, lineage) in enumerate(photographs[:n]):
        image = Image.open(path).convert("RGB")
        shared = rng.uniform(0.6, 1.2), rng.choice((0, 0, rng.uniform(0, 0.015)))
        frames = []
        for k in range(rng.randint(2, 5)):
            is_blank = k > 0 and empty and rng.random() < BLANK_SHARE
            source = Image.open(rng.choice(empty)).convert("RGB") if is_blank else image
            frame_path = work_dir / f"{number:05}_{k}.jpg"
            make_frame(source, rng, shared).save(frame_path, quality=80)
            frames.append(frame_path.name)
        bursts.append({"lineage": lineage, "frames": frames})
    return bursts


def name_frames(work_dir: Path, bursts: list[dict]) -> dict[str, list]:
    """File name -> outcome and the best taxon of each rank with its probability."""
    from linnaea.identify.commands.identify import identify

    found = {}
    for prediction in identify([work_dir], quiet=True):
        path = [[best.rank, best.name, best.confidence] for best in prediction.path_confidence]
        found[Path(prediction.file).name] = [prediction.outcome, path, prediction.rank, prediction.name]
    return found


Frame = dict[str, tuple[str, float]]
Rule = Callable[[Sequence[float], Sequence[float], Sequence[float]], float]


def weigh(power: float) -> Rule:
    """The mean of the probabilities; each frame weighs by a power of its greatest probability at the rank."""

    def rule(chances: Sequence[float], bests: Sequence[float], organisms: Sequence[float]) -> float:
        own = [("this" if chance else "other", best) for chance, best in zip(chances, bests, strict=True)]
        return pool_names(own, power).get("this", 0.0)

    return rule


def weigh_by_organism(chances: Sequence[float], bests: Sequence[float], organisms: Sequence[float]) -> float:
    """The mean of the probabilities; each frame weighs by its probability of the best kingdom."""
    return float(np.dot(chances, organisms) / max(sum(organisms), 1e-9))


def mean_log_odds(chances: Sequence[float], bests: Sequence[float], organisms: Sequence[float]) -> float:
    """The probability whose log odds are the mean of those of the frames."""
    clipped = np.clip(chances, 0.01, 0.9999)
    return float(1 / (1 + np.exp(-np.mean(np.log(clipped / (1 - clipped))))))


def noisy_or(chances: Sequence[float], bests: Sequence[float], organisms: Sequence[float]) -> float:
    """The probability that one frame at least is right, as if frames were independent."""
    return float(1 - np.prod(1 - np.array(chances)))


RULES: dict[str, Rule] = {
    "first frame": lambda chances, bests, organisms: chances[0],
    "best frame": lambda chances, bests, organisms: max(chances),
    "mean": weigh(0),
    "mean, weighted by the chance of the kingdom": weigh_by_organism,
    "mean log odds": mean_log_odds,
    "noisy or": noisy_or,
    **{
        f"mean, weighted by certainty to the power {power:g}": weigh(power)
        for power in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 16.0)
    },
}


def pool(frames: list[Frame], rule: Rule, floor: float) -> tuple[str, str, float]:
    """The deepest rank with a taxon whose pooled probability reaches the floor: rank, name, probability."""
    organisms = [frame["kingdom"][1] if "kingdom" in frame else 0.0 for frame in frames]
    for rank in reversed(RANKS):
        answers = [frame.get(rank, ("", 0.0)) for frame in frames]
        bests = [chance for _name, chance in answers]
        chances = {
            name: rule([chance if own == name else 0.0 for own, chance in answers], bests, organisms)
            for name in {own for own, _chance in answers if own}
        }
        if chances:
            name = max(chances, key=lambda one: (chances[one], one))
            if chances[name] >= floor:
                return rank, name, chances[name]
    return "", "", 0.0


def judge(given: tuple[str, str, float], lineage: list[str]) -> int | None:
    """The number of right ranks (1 to 7), 0 for a wrong name, -1 for none, None where the truth is unknown."""
    rank, name, _chance = given
    if not rank:
        return -1
    r = RANKS.index(rank)
    truth = lineage[r]
    return None if not truth else (r + 1 if truth == name else 0)


def measure(events: list[tuple[list[Frame], list[str]]], rule: Rule, floor: float) -> tuple[float, float, float, float]:
    """Share of wrong names among those given, events with a right species, with a right name, and right ranks."""
    marks = [judge(pool(frames, rule, floor), lineage) for frames, lineage in events]
    marks = [mark for mark in marks if mark is not None]
    named = [mark for mark in marks if mark >= 0]
    wrong = sum(mark == 0 for mark in named) / max(len(named), 1)
    n = len(marks)
    return wrong, sum(m == 7 for m in marks) / n, sum(m > 0 for m in marks) / n, sum(max(m, 0) for m in marks) / n


def find_floor(events: list, rule: Rule, error: float) -> float:
    """The lowest floor at which at most this share of names is wrong."""
    for floor in [*np.arange(0.3, 0.9, 0.02), *np.arange(0.9, 0.9995, 0.0025)]:
        if measure(events, rule, float(floor))[0] <= error:
            return float(floor)
    return 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, action="append", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bursts", type=int, default=800)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--save", action="store_true", help="write the result file")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    record_path = options.work / "bursts.json"
    if not record_path.exists():
        photographs, empty = read_photographs(options.photographs, random.Random(options.seed))
        frames_dir = options.work / "frames"
        frames_dir.mkdir(exist_ok=True)
        bursts = make_bursts(frames_dir, photographs, empty, options.bursts, options.seed)
        record_path.write_text(json.dumps({"bursts": bursts, "frames": name_frames(frames_dir, bursts)}))
    record = json.loads(record_path.read_text())
    events = [
        (
            [
                {rank: (name, chance) for rank, name, chance in record["frames"][frame][1]}
                for frame in burst["frames"]
                if record["frames"][frame][0] != "no_organism"
            ],
            burst["lineage"],
        )
        for burst in record["bursts"]
    ]
    events = [event for event in events if event[0]]
    lines = ["| rule | " + " | ".join(f"{e:.0%} wrong: floor, species, named, ranks" for e in ERRORS)]
    lines[0] += f" | floor {FLOOR}: wrong, species, named, ranks |"
    lines.append("| --- " * (len(ERRORS) + 2) + "|")
    for title, rule in RULES.items():
        cells = []
        for error in ERRORS:
            floor = find_floor(events, rule, error)
            _wrong, species, named, ranks = measure(events, rule, floor)
            cells.append(f"{floor:.3f}, {species:.1%}, {named:.1%}, {ranks:.2f}")
        wrong, species, named, ranks = measure(events, rule, FLOOR)
        cells.append(f"{wrong:.1%}, {species:.1%}, {named:.1%}, {ranks:.2f}")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    text = "\n".join([f"{len(events)} events, {len(record['frames'])} frames", "", *lines])
    print(text)
    if options.save:
        command = show_command("event_pooling", sys.argv[1:])
        write_result(
            HERE / "results",
            "event_pooling",
            [
                "# Names of events: which rule pools the photographs best",
                "",
                f"`{command}`",
                "",
                describe_hardware(),
                "",
                text,
            ],
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
