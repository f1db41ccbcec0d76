"""Photographs to names. `identify(paths, ...)` gives predictions one after another; see `linnaea.identify.commands.identify`."""

__all__ = ["IdentifyConfig", "identify"]


def __getattr__(name: str):
    # Late, so that a stage that needs one module of this room does not load them all.
    if name in __all__:
        from linnaea.identify.commands import identify as run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
