"""The largest number that fits."""

from collections.abc import Callable


def largest(fits: Callable[[int], bool], limit: int | None = None) -> int:
    """The largest whole number up to `limit` that fits, 0 if 1 does not; what is larger must not fit the sooner."""
    low, high = 0, 1
    while (limit is None or high <= limit) and fits(high):
        low, high = high, 2 * high
    if limit is not None:
        high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low
