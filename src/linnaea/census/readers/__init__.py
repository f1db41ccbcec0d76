"""Readers of observations: Camtrap DP, Darwin Core, Movebank, tables of `linnaea identify`, and folders of these.

`read_observations` in `dispatch` finds out what a file or folder holds and calls the right reader.
"""

__all__ = ["read_observations"]


def __getattr__(name: str) -> object:
    """Load the public function on first use."""
    if name in __all__:
        from linnaea.census.readers import dispatch

        return getattr(dispatch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
