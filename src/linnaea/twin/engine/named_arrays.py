"""Arrays by name, read as attributes: layers of the ground, state of rules, tallies."""

from __future__ import annotations

import numpy as np


class NamedArrays(dict[str, np.ndarray]):
    """A dict of arrays whose items are attributes too: `fields.water` is `fields["water"]`.

    Names with spaces, such as those of foods, are read as items. AttributeError for a name that is not there.
    """

    def __getattr__(self, name: str) -> np.ndarray:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no array {name!r}; there are {', '.join(self) or 'none'}") from None

    def __setattr__(self, name: str, values: np.ndarray) -> None:
        self[name] = values
