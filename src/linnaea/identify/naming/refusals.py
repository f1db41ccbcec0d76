"""What is said of a photograph without a name: a plain sentence, the best guess, and the candidates.

The sentence is for people; code decides by `outcome`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from linnaea.records import Prediction, RankedName

# From this probability on, a guess is "probably" right, below it "perhaps".
PROBABLE = 0.5
# One member of a group, with its article: the tables of common names have plurals and lists ("dog, coyote, wolf, fox").
GROUP_WORDS = {
    "Animalia": "an animal",
    "Plantae": "a plant",
    "Fungi": "a fungus",
    "Chromista": "a chromist",
    "Bacteria": "a bacterium",
    "Chordata": "a chordate",
    "Arthropoda": "an arthropod",
    "Mollusca": "a mollusc",
    "Cnidaria": "a cnidarian",
    "Annelida": "an annelid worm",
    "Echinodermata": "an echinoderm",
    "Porifera": "a sponge",
    "Tracheophyta": "a vascular plant",
    "Bryophyta": "a moss",
    "Ascomycota": "a sac fungus",
    "Basidiomycota": "a basidiomycete",
    "Mammalia": "a mammal",
    "Aves": "a bird",
    "Reptilia": "a reptile",
    "Amphibia": "an amphibian",
    "Actinopterygii": "a ray-finned fish",
    "Chondrichthyes": "a shark, ray or chimaera",
    "Insecta": "an insect",
    "Arachnida": "an arachnid",
    "Malacostraca": "a crustacean",
    "Gastropoda": "a snail or slug",
    "Bivalvia": "a bivalve",
    "Cephalopoda": "a cephalopod",
    "Magnoliopsida": "a flowering plant (dicot)",
    "Liliopsida": "a flowering plant (monocot)",
    "Pinopsida": "a conifer",
    "Polypodiopsida": "a fern",
    "Agaricomycetes": "a mushroom or its kin",
    "Primates": "a primate",
    "Carnivora": "a carnivore (Carnivora)",
    "Rodentia": "a rodent",
    "Chiroptera": "a bat",
    "Artiodactyla": "an even-toed ungulate or whale",
    "Perissodactyla": "an odd-toed ungulate",
    "Proboscidea": "an elephant",
    "Lagomorpha": "a rabbit, hare or pika",
    "Passeriformes": "a songbird or its kin (Passeriformes)",
    "Strigiformes": "an owl",
    "Lepidoptera": "a butterfly or moth",
    "Coleoptera": "a beetle",
    "Diptera": "a fly or its kin (Diptera)",
    "Hymenoptera": "a bee, wasp or ant",
    "Odonata": "a dragonfly or damselfly",
    "Orthoptera": "a grasshopper or its kin (Orthoptera)",
    "Hemiptera": "a true bug",
    "Araneae": "a spider",
    "Anura": "a frog or toad",
    "Squamata": "a lizard or snake",
    "Testudines": "a turtle",
    "Crocodylia": "a crocodile or its kin",
}


def describe_taxon(name: str, common_name: str = "") -> str:
    """The taxon in plain words: "a mammal", "Felidae (cat family)", or the scientific name."""
    if name in GROUP_WORDS:
        return GROUP_WORDS[name]
    return f"{name} ({common_name})" if common_name and common_name != name else name


def describe_guess(guess: RankedName | None, common_name: Callable[[int], str]) -> str:
    """The guess with its certainty: "probably a mammal", "perhaps Felidae (cat family)"; "" without a guess."""
    if guess is None:
        return ""
    common = common_name(guess.node) if guess.node >= 0 else ""
    word = "probably" if guess.confidence >= PROBABLE else "perhaps"
    return f"{word} {describe_taxon(guess.name, common)}"


def explain_unsure(guess: str, wanted: str) -> str:
    """The reason for no name; `wanted` is the rank asked for or "name"."""
    return f"{guess}; too unsure for a {wanted}" if guess else f"too unsure for a {wanted}"


def explain_outside(guess: str) -> str:
    """The reason for an organism outside the list."""
    return f"{guess}; not one of those asked for" if guess else "an organism, but not one of those asked for"


def explain_no_organism(probability: float) -> str:
    """The reason for a photograph without an organism; `probability` is that of no organism."""
    return f"no organism likely (p={probability:.2f})"


def make_refused_rows(
    file: str, outcome: str, reason: str, path: tuple[RankedName, ...], candidates: Sequence[RankedName]
) -> list[Prediction]:
    """One row for each candidate, the best guess first; one row without a guess if there is none."""
    rows = [
        Prediction(
            file=file,
            status="unidentified",
            outcome=outcome,
            reason=reason,
            position=k + 1,
            guess_rank=guess.rank,
            guess_name=guess.name,
            guess_confidence=guess.confidence,
            path_confidence=path if k == 0 else (),
        )
        for k, guess in enumerate(candidates)
    ]
    return rows or [Prediction(file=file, status="unidentified", outcome=outcome, reason=reason, path_confidence=path)]


def choose_guess(path: Sequence[RankedName]) -> RankedName | None:
    """The deepest of the best taxa of each rank that is probable together with all above it, else the first."""
    chosen = None
    for best in path:
        if chosen is not None and best.confidence < PROBABLE:
            break
        chosen = best
    return chosen
