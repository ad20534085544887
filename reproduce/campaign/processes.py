"""Run a command as its own process, kill it at a write or after a time, and say how it ended.

A fork of this process, which has imported everything, takes milliseconds where a new one takes seconds.
"""

from __future__ import annotations

import csv
import faulthandler
import hashlib
import importlib
import io
import json
import os
import pkgutil
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = ["Outcome", "import_everything", "run_command", "snapshot", "without_times"]

# Twenty times what the slowest command of the campaign takes on a busy machine.
_LONGEST_S = 120.0
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Events of the interpreter that change a folder, by the place of the path among their arguments.
_CHANGING = {"os.rename": 1, "os.link": 1, "os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "os.truncate": 0}


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, or the signal that ended it (negative), and what it wrote."""

    code: int
    out: str
    err: str
    is_hang: bool = False
    n_writes: int = 0

    @property
    def is_traceback(self) -> bool:
        """Whether Python told of an error of its own."""
        return "Traceback (most recent call last)" in self.err

    @property
    def is_told(self) -> bool:
        """Whether it was refused in words: exit code 2 and a sentence."""
        return self.code == 2 and bool(self.err.strip()) and not self.is_traceback

    @property
    def fault(self) -> str:
        """What no ending may be: a traceback, a hang or a death; empty where it is none of them."""
        if self.is_hang:
            return "hang"
        if self.is_traceback:
            return "traceback"
        if self.code < 0:
            return f"death by {signal.Signals(-self.code).name}"
        if self.code not in (0, 2):
            return f"exit code {self.code}"
        return "" if self.code == 0 or self.is_told else "no word"


def import_everything() -> None:
    """Import the whole package, so that forks need not."""
    import equiscope

    for module in pkgutil.walk_packages(equiscope.__path__, "equiscope."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def run_command(
    main: Callable[[], None],
    arguments: Sequence[str],
    folder: Path,
    *,
    kill_at: int | None = None,
    kill_after_s: float | None = None,
    longest_s: float = _LONGEST_S,
) -> Outcome:
    """Run ``equiscope`` with some arguments in a process of its own.

    Parameters
    ----------
    main
        What the process runs; it reads ``sys.argv``.
    arguments
        What is typed behind ``equiscope``.
    folder
        Where the process works.
    kill_at
        Kill it just before the write of this number, counted from 1: no ``finally`` and no handler runs.
    kill_after_s
        Kill it after this time, wherever it is.
    longest_s
        From then on it counts as a hang.
    """
    paths = {name: folder.parent / f".{folder.name}.{name}" for name in ("out", "err", "count")}
    for path in paths.values():
        path.write_bytes(b"")
    process = os.fork()
    if process == 0:
        _be_the_command(main, arguments, folder, paths, kill_at)
    code, is_hang = _wait(process, kill_after_s, longest_s)
    out, err, count = (paths[name].read_text(errors="replace") for name in ("out", "err", "count"))
    for path in paths.values():
        path.unlink()
    return Outcome(code, out, err, is_hang, int(count or 0))


def _be_the_command(
    main: Callable[[], None],
    arguments: Sequence[str],
    folder: Path,
    paths: dict[str, Path],
    kill_at: int | None,
) -> None:
    """Become the command; never returns."""
    os.setsid()
    faulthandler.disable()  # A test has it on, and the way of a death is told by the signal.
    os.chdir(folder)
    for name, stream in (("out", 1), ("err", 2)):
        os.dup2(os.open(paths[name], os.O_WRONLY), stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # A test replaces both by its own.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    sys.argv = ["equiscope", *arguments]
    count = _count_writes(folder, kill_at)
    code = 1
    try:
        main()
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        paths["count"].write_text(str(count[0]))
        os._exit(code)


def _count_writes(folder: Path, kill_at: int | None) -> list[int]:
    """Count what changes files below a folder from now on, and kill this process before one of the changes."""
    count = [0]
    top = str(folder)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & _WRITING:
                return
        elif event in _CHANGING:
            path = arguments[_CHANGING[event]]
        else:
            return
        if isinstance(path, str | os.PathLike) and str(Path(path).absolute()).startswith(top):
            count[0] += 1
            if count[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return count


def _wait(process: int, kill_after_s: float | None, longest_s: float) -> tuple[int, bool]:
    """Wait for a process, ending it when its time is over: exit code or minus the signal, and whether it hung."""
    started = time.monotonic()
    limit = longest_s if kill_after_s is None else kill_after_s
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), False
        if time.monotonic() - started > limit:
            os.killpg(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            return os.waitstatus_to_exitcode(status), kill_after_s is None
        time.sleep(0.002)


# What says when and for how long, and differs from one undisturbed run to the next.
_TIMES = {"seconds", "created", "images_per_s"}


def _plain(value: Any) -> Any:
    """Give a document without its times, tensors as digests of their bytes."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items() if key not in _TIMES}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return hashlib.sha256(value.numpy().tobytes()).hexdigest() if isinstance(value, torch.Tensor) else value


def _content(path: Path) -> bytes:
    """Content of a file without its times, or as it is where it is damaged."""
    content = path.read_bytes()
    try:
        if path.name == "digests.json":
            return repr(_digests_without_times(path.parent, json.loads(content)["files"])).encode()
        if path.suffix == ".json":
            return json.dumps(_plain(json.loads(content))).encode()
        if path.suffix == ".pt":
            return repr(_plain(torch.load(path, weights_only=True))).encode()
        if path.suffix == ".csv":
            rows = csv.DictReader(io.StringIO(content.decode()))
            return repr([_plain(row) for row in rows]).encode()
    except Exception:
        return content
    return without_times(content.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def _digests_without_times(folder: Path, digests: dict[str, list[str]]) -> dict[str, list[str]]:
    """Tell of which files a run keeps a digest, and which do not fit theirs; digests of documents with times differ."""
    present = {name: known for name, known in digests.items() if known and (folder / name).is_file()}
    misfits = [
        name
        for name, known in present.items()
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() not in known
    ]
    return {"names": sorted(digests), "misfits": sorted(misfits)}


def without_times(text: str) -> str:
    """Give what a command prints, or a page, without when it was made and for how long each stage ran."""
    # The last column of the table of circuits has seconds.
    text = re.sub(r"(?m)^(.* (?:expanded|gradient) .*) [\d.]+$", r"\1", text)
    return re.sub(r"20\d\d-\d\d-\d\d(T\d\d:\d\d:\d\d[+\d]*)?|[\d.,]+ s\b", "", text).strip()


def snapshot(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, but for times, by its address."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(_content(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
