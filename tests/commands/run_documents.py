"""Run every command of the documents that can run here, the long ones too; exit status 1: one went wrong."""

import sys
import tempfile
import time
from pathlib import Path

from tests.commands.commands import commands, make_working_directory, reason_not_to_run, run


def main() -> int:
    """Print each command, with its seconds or the reason not to run it."""
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_working_directory(folder)
        for command in commands():
            reason = reason_not_to_run(command)
            if reason is not None:
                print(f"   not run: {command.text} ({reason})", flush=True)
                continue
            start = time.monotonic()
            complaint = run(command, folder)
            wrong += [complaint] if complaint else []
            print(f"{time.monotonic() - start:8.1f} s: {command.text}{' WRONG' if complaint else ''}", flush=True)
    print("\n".join(wrong) or "all ended as the documents say")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
