"""One answer from all photographs of an event: which taxa were there, with what probability, and how many animals.

1. The images of an event (photographs, or boxes in them) that show an organism are divided into taxa. Most events have
   one taxon. A name that contradicts the best supported one is a taxon of its own if it stands beside it in the same
   photograph (two boxes), or if at least two photographs have it and its family is another; else it counts as an error.
2. Each taxon gets one name: at each rank the probabilities of its images are pooled (`pool_names`), and the
   deepest rank whose pooled probability reaches the floor is the answer. A rank that no image was named at is never
   given: the images of a burst are much alike, so that several of them add no certainty.
   Images of organisms outside the list of names are evidence against a name, and the event is outside the list if they
   are more than the named ones.
3. The count of a taxon is the largest number of its boxes in one photograph.

Images without an organism do not count against the others. `benchmarks/event_pooling.py` compares rules.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from linnaea.records import OUTCOMES, RANK_INDEX, RANKS, Prediction, RankedName
from linnaea.standards.events import EventObservation

# The power of its certainty that weights an image in the mean: 0 is the plain mean, infinity the surest image.
WEIGHT_POWER = 5.0
# Outcomes of images that show an organism.
ORGANISMS = ("named", "unsure", "outside_list")
# Outcomes that are observations of their own beside organisms, and those of an event in which nothing was seen.
BESIDE = ("human", "vehicle")
NOTHING = ("no_organism", "no_detection", "not_in_boxes", "unreadable")
# Photographs that must give a contradicting name, unless it stands beside the main one in the same photograph.
LEAST_PHOTOGRAPHS = 2
FAMILY = RANK_INDEX["family"]
DECIMALS = 4

# What tells a photograph (or a frame of a video) from the others of its event, with what was found in it (or in one of
# its boxes).
Image = tuple[Hashable, Prediction]
FindCommonName = Callable[[int], str]


def pool_names(answers: Iterable[tuple[str, float]], power: float = WEIGHT_POWER) -> dict[str, float]:
    """The pooled probability of each name of a rank; `answers` are the best name of each image and its probability.

    It is a weighted mean of the probabilities of the name, which are 0 in images whose best name is another. The weight
    of an image is a power of the probability of its best name: images that are unsure which taxon they show say little,
    sure images that show another taxon count in full.
    """
    total, sums = 0.0, {}
    for name, chance in answers:
        weight = chance**power
        total += weight
        sums[name] = sums.get(name, 0.0) + weight * chance
    return {name: part / total if total else 0.0 for name, part in sums.items()}


def pool_event(
    images: Sequence[Image], floor: float, find_common_name: FindCommonName = lambda node: ""
) -> tuple[tuple[EventObservation, ...], list[int]]:
    """The observations of an event, the main one first, and for each image the number of its observation.

    `images` are the first rows of each photograph or box. An image without an organism belongs to the main observation.
    `floor` is the least probability of a name. `find_common_name` returns that of a taxon's node.
    """
    groups = _divide_organisms([image for image in images if image[1].outcome in ORGANISMS])
    groups += [[image for image in images if image[1].outcome == outcome] for outcome in BESIDE]
    groups = list(filter(None, groups))
    if not groups:
        return (_describe_nothing(images),), [0] * len(images)
    groups, observations = _pool_groups(groups, floor, find_common_name)
    number = {id(image): k for k, group in enumerate(groups) for image in group}
    return tuple(observations), [number.get(id(image), 0) for image in images]


def _pool_groups(
    groups: Iterable[list[Image]], floor: float, find_common_name: FindCommonName
) -> tuple[list[list[Image]], list[EventObservation]]:
    """The observation of each group, and the groups; those with one answer become one group."""
    merged: list[list[Image]] = []
    observations: list[EventObservation] = []
    for group in groups:
        observation = _pool_group(group, floor, find_common_name)
        # Two taxa of one family may both be certain only as far as the family.
        same = next((k for k, other in enumerate(observations) if _are_alike(other, observation)), None)
        if same is None:
            merged.append(group)
            observations.append(observation)
        else:
            merged[same] = merged[same] + group
            observations[same] = _pool_group(merged[same], floor, find_common_name)
    return merged, observations


def _are_alike(one: EventObservation, other: EventObservation) -> bool:
    first, second = one.prediction, other.prediction
    return (first.outcome, first.rank, first.name) == (second.outcome, second.rank, second.name)


# --- Taxa of an event


def _find_taxon(prediction: Prediction) -> tuple[int, str]:
    """The rank (its index; -1 for a label that is not a taxon) and the name of a named image."""
    rank = RANK_INDEX.get(prediction.rank, -1)
    if rank >= 0 and prediction.lineage[rank] == prediction.name:
        return rank, prediction.name
    return -1, prediction.name


def _lies_within(one: Prediction, other: Prediction) -> bool:
    """Whether the taxon of `one` is that of `other` or lies below it."""
    rank, name = _find_taxon(other)
    if rank < 0 or _find_taxon(one)[0] < 0:
        return _find_taxon(one) == (rank, name)
    return one.lineage[rank] == name


def _count_shared_ranks(one: Sequence[str], other: Sequence[str]) -> int:
    """How many ranks from the kingdom down have the same name; a missing name agrees with any."""
    for rank, (name, own) in enumerate(zip(one, other, strict=True)):
        if name and own and name != own:
            return rank
    return len(RANKS)


@dataclass(kw_only=True, slots=True)
class _Taxon:
    """A taxon (or label) of an event: an image that was named so, its photographs, the sum of its probabilities."""

    example: Prediction
    photographs: set[Hashable] = field(default_factory=set)
    support: float = 0.0


def _divide_organisms(images: Sequence[Image]) -> list[list[Image]]:
    """The images of each taxon, and apart from them those of organisms outside the list that stand beside a named one.

    An organism outside the list that is alone in its photograph is evidence against the names of the others.
    """
    photographs = [
        {photograph for photograph, prediction in images if prediction.outcome == outcome}
        for outcome in ("named", "outside_list")
    ]
    if not photographs[0] & photographs[1]:
        return _divide(images)
    outside = [image for image in images if image[1].outcome == "outside_list"]
    return [*_divide([image for image in images if image[1].outcome != "outside_list"]), outside]


def _divide(images: Sequence[Image]) -> list[list[Image]]:
    """The images of each taxon, the best supported first."""
    taxa = _find_taxa(images)
    kept: list[Prediction] = []
    for taxon in taxa:
        if not kept or _is_separate(taxon, kept, images):
            kept.append(taxon.example)
    if len(kept) < 2:
        return [list(images)]
    groups: list[list[Image]] = [[] for _taxon in kept]
    for image in images:
        groups[_choose_group(image[1], kept)].append(image)
    return groups


def _find_taxa(images: Sequence[Image]) -> list[_Taxon]:
    """The taxa with no other taxon of the event below them, the best supported first."""
    taxa: dict[tuple[int, str], _Taxon] = {}
    for photograph, prediction in images:
        if prediction.outcome == "named":
            taxon = taxa.setdefault(_find_taxon(prediction), _Taxon(example=prediction))
            taxon.photographs.add(photograph)
            taxon.support += prediction.confidence or 0.0
    deepest = [
        taxon
        for taxon in taxa.values()
        if not any(other is not taxon and _lies_within(other.example, taxon.example) for other in taxa.values())
    ]
    return sorted(deepest, key=lambda taxon: (-taxon.support, _find_taxon(taxon.example)))


def _is_separate(taxon: _Taxon, kept: Sequence[Prediction], images: Sequence[Image]) -> bool:
    """Whether a taxon that contradicts those `kept` was there too, and is not an error of naming."""
    if any(
        photograph in taxon.photographs
        and prediction.outcome == "named"
        and not _lies_within(taxon.example, prediction)
        for photograph, prediction in images
    ):
        return True
    if len(taxon.photographs) < LEAST_PHOTOGRAPHS:
        return False
    lineage = taxon.example.lineage
    return not any(lineage) or all(_count_shared_ranks(lineage, other.lineage) <= FAMILY for other in kept)


def _choose_group(prediction: Prediction, taxa: Sequence[Prediction]) -> int:
    """The taxon of an image: the one that its name admits, else the one that shares most ranks with its best names."""
    if prediction.outcome == "named":
        for k, taxon in enumerate(taxa):
            if _lies_within(taxon, prediction):
                return k
        lineage: Sequence[str] = prediction.lineage
    else:
        best = {one.rank: one.name for one in prediction.path_confidence}
        lineage = [best.get(rank, "") for rank in RANKS]
    shared = [_count_shared_ranks(lineage, taxon.lineage) for taxon in taxa]
    return shared.index(max(shared))


# --- The name of a taxon


def _pool_group(group: Sequence[Image], floor: float, find_common_name: FindCommonName) -> EventObservation:
    """The observation of the images of one taxon."""
    predictions = [prediction for _photograph, prediction in group]
    named = [prediction for prediction in predictions if prediction.outcome == "named"]
    n_outside = sum(prediction.outcome == "outside_list" for prediction in predictions)
    if n_outside > len(named):
        pooled = _choose_unnamed([prediction for prediction in predictions if prediction.outcome == "outside_list"])
    elif named:
        pooled = _find_name(named, predictions, floor)
        if pooled.outcome == "named" and not pooled.common_name:
            pooled = dataclasses.replace(pooled, common_name=find_common_name(_find_node(pooled, predictions)))
    else:
        pooled = _choose_unnamed(predictions)
    return EventObservation(
        prediction=pooled,
        count=_count_boxes(group),
        n_photographs=len({photograph for photograph, _prediction in group}),
    )


def _count_boxes(group: Iterable[Image]) -> int | None:
    """The largest number of boxes in one photograph; None if there are none."""
    boxes = Counter(photograph for photograph, prediction in group if prediction.box is not None)
    return max(boxes.values(), default=None)


def _find_name(named: Sequence[Prediction], members: Sequence[Prediction], floor: float) -> Prediction:
    """The name at the deepest rank with a pooled probability of at least the floor, or an unsure answer."""
    best: tuple[float, str, int] | None = None
    for rank in range(len(RANKS) - 1, -2, -1):
        candidates = {_name_at(prediction, rank) for prediction in named} - {""}
        if not candidates:
            continue
        pooled = pool_names(_find_best(prediction, rank) for prediction in members)
        chance, name = max((pooled[name], name) for name in candidates)
        if chance >= floor:
            return _make_named(name, rank, chance, named)
        if best is None or chance > best[0]:
            best = chance, name, rank
    chance, name, rank = best
    label = RANKS[rank] if rank >= 0 else "label"
    return Prediction(
        file="",
        status="unidentified",
        outcome="unsure",
        reason=f"the photographs of the event disagree; best guess: {label} {name} (p={chance:.2f})",
        guess_rank=RANKS[rank] if rank >= 0 else "",
        guess_name=name,
        guess_confidence=round(chance, DECIMALS),
        path_confidence=_pool_path(members),
    )


def _pool_path(members: Sequence[Prediction]) -> tuple[RankedName, ...]:
    """The best taxon of each rank with its pooled probability."""
    path = []
    for rank, label in enumerate(RANKS):
        pooled = pool_names(_find_best(prediction, rank) for prediction in members)
        pooled.pop("", None)
        if pooled:
            chance, name = max((chance, name) for name, chance in pooled.items())
            path.append(RankedName(rank=label, name=name, confidence=round(chance, DECIMALS)))
    return tuple(path)


def _name_at(prediction: Prediction, rank: int) -> str:
    """The taxon at a rank of the name that an image was given; the label at rank -1; "" below the given rank."""
    given, name = _find_taxon(prediction)
    if rank < 0 or given < 0:
        return name if rank == given else ""
    return prediction.lineage[rank] if rank <= given else ""


def _find_best(prediction: Prediction, rank: int) -> tuple[str, float]:
    """The best name of an image at a rank, with its probability; "" if none is known.

    An organism outside the list is none of the names, and as certainly so as its deepest name is right.
    """
    if given := _name_at(prediction, rank) if prediction.outcome == "named" else "":
        chance = next((best.confidence for best in prediction.path_confidence if best.name == given), 0.0)
        return given, max(chance, prediction.confidence or 0.0)
    if rank < 0:
        return prediction.guess_name, prediction.guess_confidence or 0.0
    path = prediction.path_confidence
    against = path[-1].confidence if path and prediction.outcome == "outside_list" else 0.0
    return next(((best.name, best.confidence) for best in path if best.rank == RANKS[rank]), ("", against))


def _make_named(name: str, rank: int, chance: float, named: Sequence[Prediction]) -> Prediction:
    """The answer with the lineage and the common name that an image has for it."""
    source = next(prediction for prediction in named if _name_at(prediction, rank) == name)
    exact = next((prediction for prediction in named if prediction.name == name), None)
    lineage = source.lineage if rank < 0 else (*source.lineage[: rank + 1], *("",) * (len(RANKS) - 1 - rank))
    return Prediction(
        file="",
        status="identified",
        rank=source.rank if rank < 0 else RANKS[rank],
        name=name,
        common_name=exact.common_name if exact else "",
        confidence=round(chance, DECIMALS),
        lineage=lineage,
    )


def _find_node(answer: Prediction, predictions: Sequence[Prediction]) -> int:
    """The node of a taxon in the tree of names, -1 if no image knows it."""
    paths = (best for prediction in predictions for best in prediction.path_confidence)
    return next((best.node for best in paths if (best.rank, best.name) == (answer.rank, answer.name)), -1)


def _choose_unnamed(predictions: Sequence[Prediction]) -> Prediction:
    """The answer for a group without a name: the most frequent outcome, with the surest guess among its images."""
    counts = Counter(prediction.outcome for prediction in predictions)
    outcome = max(counts, key=lambda one: (counts[one], one))
    surest = max(
        (prediction for prediction in predictions if prediction.outcome == outcome),
        key=lambda prediction: prediction.guess_confidence or 0.0,
    )
    return dataclasses.replace(surest, file="", box=None, position=1)


def _describe_nothing(images: Sequence[Image]) -> EventObservation:
    """The observation of an event in which nothing was seen: blank if one image at least could be judged."""
    for outcome in NOTHING:
        found = [image for image in images if image[1].outcome == outcome]
        if found:
            photographs = {photograph for photograph, _prediction in found}
            row = Prediction(file="", status=OUTCOMES[outcome], outcome=outcome, reason=found[0][1].reason)
            return EventObservation(prediction=row, count=None, n_photographs=len(photographs))
    raise AssertionError("an event has at least one image")
