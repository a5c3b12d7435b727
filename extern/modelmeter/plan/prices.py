"""Prices of devices, from the user alone: of an hour, in a currency, of a day, from a source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Any, Final

from modelmeter.devices.device import NAME
from modelmeter.documents import read_yaml
from modelmeter.errors import ModelMeterError, shown
from modelmeter.kinds import Choice, Kind, Real, Record, Text

_MOST_BYTES: Final = 2**16
_PRICE: Final[Kind[float]] = Real(Fraction(0), Fraction(10**9))
_FILE: Final = Record(
    {
        "currency": Text(12, least=1),
        "per": Choice(("hour",)),
        "date": Text(10, least=10),
        "source": Text(500, least=1),
        "prices": Record({}, "the prices", others=True),
    },
    "a file of prices",
    missing="a price without it says nothing: give currency, per: hour, date, source and prices, a device a line",
)


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Of an hour of a device, by its name. currency, date, source: as the file says; "" of prices of the command line.

    unnamed: names in the file that are not asked for are no error there.
    """

    an_hour: Mapping[str, float] = field(default_factory=dict)
    currency: str = ""
    date: str = ""
    source: str = ""

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Prices:
        """Of a YAML file; raises `ModelMeterError` for one that lacks currency, unit, date or source."""
        who = f"prices {os.fspath(path)}"
        content: Any = read_yaml(who, path, _MOST_BYTES)
        values = _FILE.read(f"{who}: ", content)
        try:
            day = date.fromisoformat(values["date"])
        except ValueError as error:
            raise ModelMeterError(f"{who}: date={shown(values['date'])} is no day; write it as 2026-11-26.") from error
        given = {NAME.read(f"{who}: prices", name): each for name, each in content["prices"].items()}
        if not given:
            raise ModelMeterError(f"{who}: prices is empty; give a device a line, as in H100-SXM: 2.5.")
        prices = {name: _PRICE.read(f"{who}: prices.{name}", each) for name, each in given.items()}
        return cls(an_hour=prices, currency=values["currency"], date=day.isoformat(), source=values["source"])

    @property
    def words(self) -> str:
        """The currency, or what stands for it."""
        return self.currency or "money"
