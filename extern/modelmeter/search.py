"""The largest number that fits, and points that no other beats."""

from collections.abc import Callable, Sequence


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


def efficient(points: Sequence[Sequence[float]]) -> list[bool]:
    """Of points whose every figure is the better the less it is, those that no other beats: Pareto-efficient.

    One beats another that is as good in every figure and better in one.

    >>> efficient([(1.0, 9.0), (2.0, 5.0), (2.0, 6.0), (3.0, 5.0)])
    [True, True, False, False]
    """
    own = list(map(tuple, points))
    return [
        not any(each != point and all(one <= two for one, two in zip(each, point, strict=True)) for each in own)
        for point in own
    ]
