"""That a program which takes minutes is at work: a bar on a terminal, elsewhere a line a minute on standard error.

The lines come from a thread, so that they come too while one piece takes minutes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from modelmeter.process import tell

#: seconds between two lines
LINE_S: Final = 60.0


@contextmanager
def progress(who: str, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function that hears how many of `total` pieces are done, `what` in the plural.

    who: the command that the lines begin with.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda done: bar.update(task, completed=done)
        return
    count = 0
    ended, begin = threading.Event(), monotonic()

    def lines() -> None:
        while not ended.wait(LINE_S):
            tell(f"{who}: {count:,} of {total:,} {what} done, {(monotonic() - begin) / 60:.0f} min")

    def hear(done: int) -> None:
        nonlocal count
        count = done

    thread = threading.Thread(target=lines, daemon=True)
    thread.start()
    try:
        yield hear
    finally:
        ended.set()
        thread.join()
