"""A folder that remembers how far a corpus was read, so that a run that was killed goes on where it was.

It holds `state.json`, which is replaced whole, and the rows written so far in parts. A part counts only once the state
that names it is in place: whatever moment a run is killed at, the folder shows one that had just saved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from modelmeter.corpus.sources import Item
from modelmeter.corpus.tally import Tally
from modelmeter.errors import ModelMeterError
from modelmeter.files import write_whole, writing

SCHEMA: Final = 1

STATE: Final = "state.json"


@dataclass
class Progress:
    """How far a corpus was read: whole items, then batches of the next one; the tally and parts of rows so far."""

    items: int = 0
    batches: int = 0
    rows_parts: int = 0
    tally: Tally = field(default_factory=Tally)


class Checkpoint:
    """The folder `folder` for a run that `identity` (its sources, options and configuration) describes."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.identity = json.loads(json.dumps(identity))
        self.done = hashlib.sha256()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder; the lock ends with the process, however that ends."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("a")
        with lock:
            try:
                import fcntl
            except ImportError:  # Windows: nothing keeps two runs apart there
                yield
                return
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ModelMeterError(
                    f"corpus: another run is at work in {self.folder}; wait until it ends."
                ) from error
            yield

    def load(self) -> tuple[Progress, str]:
        """What the folder remembers, and the fingerprint of the items that it was made from."""
        path = self.folder / STATE
        if not path.exists():
            return Progress(), ""
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            if state["schema"] != SCHEMA:
                raise ValueError(f"schema {state['schema']}")
            progress = Progress(state["items"], state["batches"], state["rows_parts"], Tally.from_json(state["tally"]))
            identity, fingerprint = state["identity"], str(state["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelMeterError(
                f"corpus: {path} is no state of a corpus run ({type(error).__name__}: {error}); name another folder."
            ) from error
        differs = sorted(name for name in {*self.identity, *identity} if self.identity.get(name) != identity.get(name))
        if differs:
            name = differs[0]
            raise ModelMeterError(
                f"corpus: {self.folder} belongs to a run with {name}={identity.get(name)}, and this one has "
                f"{name}={self.identity.get(name)}; name another folder, or ask for the same."
            )
        return progress, fingerprint

    def passed(self, item: Item) -> None:
        """Take an item into the fingerprint."""
        self.done.update(item.fingerprint().encode("utf-8", "surrogateescape") + b"\n")

    def check(self, fingerprint: str) -> None:
        """Refuse to go on if the items passed are not those that the state was made from."""
        if self.done.hexdigest() != fingerprint:
            raise ModelMeterError(
                f"corpus: the files that {self.folder} remembers as done have changed since; "
                "delete that folder to start anew."
            )

    def part(self, number: int) -> Path:
        """Where a part of the rows stands."""
        return self.folder / f"rows-{number:06}.parquet"

    def save(self, progress: Progress) -> None:
        """Put the state in place."""
        state = {
            "schema": SCHEMA,
            "identity": self.identity,
            "items": progress.items,
            "batches": progress.batches,
            "rows_parts": progress.rows_parts,
            "fingerprint": self.done.hexdigest(),
            "tally": progress.tally.as_json(),
        }
        write_whole(self.folder / STATE, json.dumps(state))
