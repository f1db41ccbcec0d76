"""How well a value is known: every number of a world says it."""

from __future__ import annotations

MEASURED, ALLOMETRIC, UNVERIFIED, TUNED = "measured", "allometric", "unverified", "tuned"
GRADES = {
    MEASURED: "taken from a source that was read; the source follows",
    ALLOMETRIC: "computed from body mass; which formula follows where there is more than one",
    UNVERIFIED: "general knowledge or an estimate that nobody checked",
    TUNED: "adjusted until the populations of a bundled world lived on; never to the result of a what-if",
}


def check_grade(grade: str, where: str) -> str:
    """The grade, without spaces at its ends.

    A grade is one of `GRADES`, after which a remark may follow behind a space; "measured" needs one, its source.
    `where` names the value in the ValueError.
    """
    word, _, remark = grade.strip().partition(" ")
    if word not in GRADES:
        raise ValueError(
            f"{where}: grade {grade!r} is unknown; write {MEASURED} and a source, {ALLOMETRIC}, {TUNED} or {UNVERIFIED}"
        )
    if word == MEASURED and not remark.strip():
        raise ValueError(
            f"{where}: {MEASURED!r} names no source; write it behind the word, or grade the value {UNVERIFIED}"
        )
    return grade.strip()


def is_measured(grade: str) -> bool:
    """Whether the value was taken from a source."""
    return grade.startswith(MEASURED)
