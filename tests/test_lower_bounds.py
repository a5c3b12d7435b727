"""The oldest versions that are asked for; `make lower-bounds` installs and runs them."""

from pathlib import Path

from tests.lower_bounds import lower_bounds

ROOT = Path(__file__).parents[1]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_every_dependency_of_the_core_has_a_bound_that_ci_is_above() -> None:
    constraints = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    bounds = lower_bounds()
    assert set(bounds) == {"click", "hydra-core", "numpy", "omegaconf", "pillow", "pyyaml", "rich"}
    for name, version in bounds.items():
        assert numbers(constraints[name]) >= numbers(version), name


def test_no_bound_is_below_the_fix_of_a_known_hole() -> None:
    bounds = lower_bounds()
    # JPEG and JPEG 2000 decoders write beyond their buffers (CVE-2026-112403, GHSA-78g4-xqwv-q3g8)
    assert numbers(bounds["pillow"]) >= (13, 0)
    # what a configuration names is called (CVE-2026-68508, CVE-2026-106439)
    assert numbers(bounds["hydra-core"]) >= (1, 3, 7)
