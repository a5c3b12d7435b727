"""The one error that a user is meant to read, and the hint it gives for a misspelt name."""

from collections.abc import Iterable


class ModelMeterError(ValueError):
    """A request that cannot be answered: the text says who, what came, what was expected and what to do."""


def near(name: str, options: Iterable[str]) -> str:
    """Text to end an "unknown name" error with: the close options, or all of them when none is close.

    >>> near("gundan", ["base", "gundam"])
    'did you mean "gundam"?'
    >>> near("xyz", ["base", "gundam"])
    'the options are base, gundam.'
    """
    from difflib import get_close_matches  # here: only an error needs it

    names = list(options)
    if not names:
        return "there are no options."
    spelling = {option.lower(): option for option in names}
    close = [spelling[match] for match in get_close_matches(name.lower(), list(spelling), n=3)]
    if close:
        quoted = " or ".join(f'"{option}"' for option in close)
        return f"did you mean {quoted}?"
    return f"the options are {', '.join(names)}."
