"""Files are there whole or not at all, whatever happens to the process, the disk or the name."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from equiscope.foundations import files
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.files import (
    check_output,
    file_name,
    is_unused,
    remove_left_overs,
    write_atomically,
    write_changed,
    write_output,
)

LONGEST = "n" * 255


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    """Each test is a process that has not looked into any folder yet."""
    files._remove_left_overs.cache_clear()
    yield
    files._remove_left_overs.cache_clear()


def leave(folder: Path, mark: str | None = None, process: int | None = None, age_s: float = 0.0) -> Path:
    """A temporary file as a process leaves it; by default of a dead one of this machine."""
    if process is None:
        done = subprocess.Popen([sys.executable, "-c", ""])
        done.wait()
        process = done.pid
    path = folder / f".equiscope-{mark or files._mark()}-{process}-0.part"
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


# --- names ---------------------------------------------------------------------------------------------------


def test_the_longest_name_that_a_file_system_takes_can_be_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / LONGEST, lambda stream: stream.write(b"whole"))
    assert [path.name for path in tmp_path.iterdir()] == [LONGEST]


@pytest.mark.parametrize("layer", ["a" * 250, "/" * 90, "ü" * 200, "block/" * 80 + "a", "block/" * 80 + "b"])
def test_layers_of_any_length_have_files(layer: str, tmp_path: Path) -> None:
    name = file_name(layer, ending=".units.npz")
    (tmp_path / name).write_bytes(b"")
    assert name.endswith(".units.npz")
    assert "%~" in name


def test_shortened_names_differ_and_are_no_other_names() -> None:
    long = ["x" * 300 + end for end in "ab"]
    names = [file_name(name, ending=".json") for name in long]
    assert len(set(names)) == 2
    # A layer may be called like the short name of another.
    assert file_name(names[0].removesuffix(".json"), ending=".json") not in names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["conv2d0"], "conv2d0.json"),
        (["a/b+c"], "a%2Fb%2Bc.json"),
        (["a" * 235], "a" * 235 + ".json"),
        (["4", "5.conv"], "4+5.conv.json"),
        (["\udcff"], "%FF.json"),
    ],
)
def test_names_that_fit_are_those_of_earlier_versions(names: list[str], expected: str) -> None:
    assert file_name(*names, ending=".json") == expected


# --- what killed processes leave -----------------------------------------------------------------------------


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path) -> None:
    left = leave(tmp_path)
    write_atomically(tmp_path / "file", lambda stream: stream.write(b""))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert not left.exists()


def test_a_file_that_stays_as_it_is_clears_its_folder_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"same")
    leave(tmp_path)
    write_changed(tmp_path / "file", b"same")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "other",
    [
        {"process": os.getpid()},
        {"process": 1},
        {"mark": "0" * 8},
        {"mark": "0" * 8, "age_s": 80_000.0},
    ],
    ids=["this process", "another user's", "another machine's", "another machine's of today"],
)
def test_what_may_still_be_written_stays(tmp_path: Path, other: dict[str, object]) -> None:
    path = leave(tmp_path, **other)
    remove_left_overs(tmp_path)
    assert path.exists()


def test_what_another_machine_left_goes_after_a_day(tmp_path: Path) -> None:
    path = leave(tmp_path, mark="0" * 8, age_s=90_000.0)
    remove_left_overs(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("name", [".file.123.part", "equiscope-00000000-1-0.part", ".equiscope-notes.part"])
def test_what_is_not_ours_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    os.utime(tmp_path / name, (0, 0))
    remove_left_overs(tmp_path)
    assert (tmp_path / name).exists()


def test_a_kill_in_the_middle_of_a_write_leaves_what_is_recognised(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom equiscope.foundations.files import write_atomically\n"
        "def half(stream):\n    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), 9)\n"
        "write_atomically(Path(sys.argv[1]) / 'file', half)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    assert is_unused(tmp_path)
    write_atomically(tmp_path / "file", lambda stream: stream.write(b"whole"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_with_a_beginning_alone_is_unused(tmp_path: Path) -> None:
    assert is_unused(tmp_path / "nowhere")
    assert is_unused(tmp_path)
    leave(tmp_path)
    assert is_unused(tmp_path)
    (tmp_path / ".hidden").write_text("mine")
    assert not is_unused(tmp_path)
    assert not is_unused(tmp_path / ".hidden")


def test_threads_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def write(content: bytes) -> None:
        def slowly(stream: object) -> None:
            both.wait(timeout=10)
            stream.write(content)  # type: ignore[attr-defined]
            both.wait(timeout=10)

        write_atomically(tmp_path / "file", slowly)

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, (b"one", b"other")))
    assert (tmp_path / "file").read_bytes() in (b"one", b"other")
    assert len(list(tmp_path.iterdir())) == 1


# --- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number"),
    [("n" * 256, errno.ENAMETOOLONG), ("file/below/it", errno.ENOTDIR), ("folder", errno.EISDIR)],
)
def test_errors_name_the_file_that_was_meant(tmp_path: Path, name: str, number: int) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for write in (write_atomically, write_output):
        with pytest.raises(OSError, match=r"Errno") as error:
            write(tmp_path / name, lambda stream: stream.write(b""))
        assert error.value.errno == number
        assert str(error.value.filename) in str(tmp_path / name)
        assert error.value.filename2 is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_an_error_without_a_number_keeps_its_words(tmp_path: Path) -> None:
    def fail(_stream: object) -> None:
        raise OSError("disk on fire")

    with pytest.raises(OSError, match=r"^disk on fire$"):
        write_atomically(tmp_path / "file", fail)


# --- what the user names -------------------------------------------------------------------------------------


def test_an_output_goes_through_links_and_a_file_of_a_run_does_not(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    link.symlink_to(target)
    write_output(link, lambda stream: stream.write(b"new"))  # the target need not be there
    write_output(link, lambda stream: stream.write(b"newer"))
    assert link.is_symlink()
    assert target.read_bytes() == b"newer"
    assert len(list(tmp_path.rglob("*"))) == 3
    write_atomically(link, lambda stream: stream.write(b"own"))
    assert not link.is_symlink()
    assert target.read_bytes() == b"newer"


def test_what_cannot_be_written_is_refused_before_it_is_computed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place, kind in ((tmp_path, IsADirectoryError), (tmp_path / "file" / "below", NotADirectoryError)):
        with pytest.raises(kind):
            check_output(place)
    check_output(tmp_path / "file")
    check_output(tmp_path / "new" / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_pipe_gets_the_bytes_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        try:
            write_output(pipe, lambda stream: stream.write(b"bytes"))
            assert reader.communicate(timeout=20)[0] == b"bytes"
        finally:
            reader.kill()  # it waits for ever where the pipe was replaced
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_device_is_written_into_and_not_replaced() -> None:
    devices = Path("/dev/full"), Path("/dev/null")
    before = [path.stat().st_rdev for path in devices]
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        write_output(devices[0], lambda stream: stream.write(b"bytes"))
    write_output(devices[1], lambda stream: stream.write(b"bytes"))
    assert [path.stat().st_rdev for path in devices] == before
    assert all(stat.S_ISCHR(path.stat().st_mode) for path in devices)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_file_behind_standard_output_keeps_what_was_printed(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if not Path(name).exists():
        pytest.skip(f"needs {name}")
    sys.stdout.write("before\n")
    write_output(Path(name), lambda stream: stream.write(b"graph\n"))
    sys.stdout.write("after\n")
    assert capfd.readouterr().out == "before\ngraph\nafter\n"


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
def test_a_pipe_behind_standard_output_gets_the_bytes() -> None:
    script = (
        "from pathlib import Path\nfrom equiscope.foundations.files import write_output\n"
        "print('before')\nwrite_output(Path('/dev/stdout'), lambda s: s.write(b'graph\\n'))\nprint('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "before\ngraph\nafter\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a device")
def test_a_disk_is_refused(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    try:
        os.mknod(disk, stat.S_IFBLK | 0o600, os.makedev(7, 250))  # a loop device that does not exist
    except PermissionError:
        pytest.skip("this container makes no devices")
    with pytest.raises(EquiscopeError, match="is a disk, and writing there would destroy what is on it"):
        write_output(disk, lambda stream: stream.write(b""))
    assert stat.S_ISBLK(disk.stat().st_mode)


# --- a full disk ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
        )
        if shutil.which("mount")
        else None
    )
    if mounted is None or mounted.returncode:
        pytest.skip("only root mounts a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_keeps_what_was_there_and_nothing_else(small_disk: Path) -> None:
    path = small_disk / "file"
    write_atomically(path, lambda stream: stream.write(b"before"))
    with pytest.raises(OSError, match="No space left on device") as error:
        write_atomically(path, lambda stream: stream.write(bytes(100_000)))
    assert error.value.filename == str(path)
    assert [own.name for own in small_disk.iterdir()] == ["file"]
    assert path.read_bytes() == b"before"
