"""Why a way does not win, and the smallest change with which it would: a sentence each."""

from __future__ import annotations

from typing import Final, NamedTuple

from modelmeter.models.common.precision import UNQUANTISED
from modelmeter.plan.demand import HOURS_A_MONTH, LIMITS
from modelmeter.plan.ways import MONEY, Plan, Way
from modelmeter.quantities import estimated, number

BEST: Final = "best"
DEARER: Final = "dearer"
NOT_SEARCHED: Final = "not_searched"
TOO_SLOW: Final = "too_slow"
REFUSED: Final = "refused"


class Verdict(NamedTuple):
    """kind: one of the words above. why: "" of the best. change: "" where there is none, or where `why` says it."""

    kind: str
    why: str
    change: str


def verdict(plan: Plan, way: Way) -> Verdict:
    """Of one way of a plan."""
    if way.serves is None:
        return Verdict(REFUSED, str(way.refused), _smaller(plan, way) if way.too_large else "")
    if way.short:
        return _too_slow(plan, way)
    if way is plan.best:
        return Verdict(BEST, "", "")
    assert plan.best is not None  # a way that was not searched was not, since others are better
    least = "at least " if way.found is None else ""
    kind = DEARER if way.found is not None else NOT_SEARCHED
    gpus, fewest = plan.gpus(way), plan.gpus(plan.best)
    if plan.by != MONEY:
        if gpus == fewest:
            return Verdict(kind, f"as many GPUs{_slower(plan, way)}", "")
        more = f"{least}{gpus - fewest:,} GPU{'s' * (gpus - fewest > 1)} more than the best"
        return Verdict(kind, more, _faster(plan, way, fewest))
    money, best = plan.money(way), plan.money(plan.best)
    assert money is not None and best is not None
    if money == best:
        return Verdict(kind, f"no cheaper{_slower(plan, way)}", "")
    dearer = f"{least}{number(money - best)} {plan.question.prices.words} a month more ({(money / best - 1):+.0%})"
    price = f"below {best / gpus / HOURS_A_MONTH:.3g} an hour it would be as cheap"
    return Verdict(kind, dearer, f"{price}{' at most' if way.found is None else ''}")


def _smaller(plan: Plan, way: Way) -> str:
    """What would let a page fit: what was not asked for of the model on the device."""
    ways = []
    same = [each for each in plan.ways if all(each.settings[key] == way.settings[key] for key in ("model", "device"))]
    if all(each.settings.get("precision", UNQUANTISED) == UNQUANTISED for each in same):
        ways.append("--precision all says which packed weights fit")
    if way.device.link is not None and all(each.devices == 1 for each in same):
        ways.append("--tensor-parallel 2,4 splits the model over several")
    return ", ".join(ways)


def _slower(plan: Plan, way: Way) -> str:
    """How much longer a page takes than by the best way."""
    assert plan.best is not None
    if way.found is None:
        return ""
    percentile = plan.question.level.percentile
    own, best = (each.found.outcome.times() for each in (way, plan.best) if each.found is not None)
    taken = [estimated(each["latency_s"].percentiles[percentile]) for each in (own, best)]
    if taken[0] == taken[1]:
        return " and no faster"
    return f", and {taken[0]} s in place of {taken[1]} s a page at p{percentile}"


def _faster(plan: Plan, way: Way, gpus: int) -> str:
    """How much more a replica would have to serve, so that as many GPUs as the best way's would do."""
    assert way.serves is not None
    replicas = (gpus - plan.question.spare) // way.devices
    if not replicas:
        return "a replica of it alone has more"
    rate = plan.question.demand.rate / replicas
    return f"with {rate / way.serves.capacity:.3g} x its pages/s as few would do"


def _too_slow(plan: Plan, way: Way) -> Verdict:
    """Of limits that no number of replicas holds."""
    level = plan.question.level
    told, relaxed = [], []
    for name, seconds in way.short.items():
        limit, option = level.limits[name], LIMITS[name]
        told.append(
            f"{option}: {estimated(seconds)} s at p{level.percentile} where nothing waits, {seconds / limit:.3g} x the "
            f"{limit:g} s asked for"
        )
        relaxed.append(f"{option} {_above(seconds)}s")
    return Verdict(TOO_SLOW, "; ".join(told), f"{' and '.join(relaxed)} lets it pass")


def _above(seconds: float) -> str:
    """Three digits of a time, rounded up.

    >>> _above(12.341), _above(0.5)
    ('12.4', '0.501')
    """
    rounded = float(f"{seconds:.3g}")
    step = 10.0 ** (len(f"{int(seconds)}") - 3 if seconds >= 1 else -3)
    return f"{rounded if rounded > seconds else rounded + step:.3g}"
