"""How well a value is known: every number of a world has a grade."""

from __future__ import annotations

MEASURED, ALLOMETRIC, UNVERIFIED, TUNED = "measured", "allometric", "unverified", "tuned"
GRADES = {
    MEASURED: "taken from a source that was read; the source follows the word",
    ALLOMETRIC: "computed from body mass; the formula follows the word where there is more than one",
    UNVERIFIED: "general knowledge or an estimate that nobody checked",
    TUNED: "adjusted until the populations of a bundled world persisted; never adjusted to the result of a what-if",
}


def check_grade(grade: str, where: str) -> str:
    """Return the grade without surrounding spaces.

    A grade is a word of `GRADES`; a remark may follow after a space. The remark of "measured" is its source and is
    required. Raise ValueError, beginning with `where`, for an unknown word or a missing source.
    """
    word, _, remark = grade.strip().partition(" ")
    if word not in GRADES:
        raise ValueError(
            f"{where}: grade {grade!r} is unknown; write {MEASURED} and a source, {ALLOMETRIC}, {TUNED} or {UNVERIFIED}"
        )
    if word == MEASURED and not remark.strip():
        raise ValueError(
            f"{where}: {MEASURED!r} names no source; write it after the word, or grade the value {UNVERIFIED}"
        )
    return grade.strip()


def is_measured(grade: str) -> bool:
    """Return whether the value was taken from a source."""
    return grade.startswith(MEASURED)
