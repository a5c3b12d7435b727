"""Every output: whole or not at all, through links and into devices, and never over what is read."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelmeter import files
from modelmeter.errors import ModelMeterError
from modelmeter.files import check_output, encodable, is_standard_output, replacing, write_all, write_whole

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and modes are POSIX's")


def test_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_whole(path, "first")
    write_whole(path, "second é")
    assert path.read_text(encoding="utf-8") == "second é"
    assert os.listdir(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_what_was_there_stays_if_the_writer_fails(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_nothing_is_in_place_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path
        assert not path.exists()
    assert path.read_text() == ""


def test_rights_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_whole(tmp_path / "whole", "")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o4755])
def test_rights_of_a_file_stay(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    before = path.stat()
    with replacing(path) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) & 0o077 == 0, "nobody reads what he may not, meanwhile"
    assert (path.stat().st_mode, path.stat().st_uid) == (before.st_mode, before.st_uid)
    assert path.stat().st_ino != before.st_ino, "the old file was replaced, not written over"


@POSIX
def test_an_owner_that_cannot_be_kept_is_not_impersonated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o6755)
    others = os.stat_result((*path.stat()[:4], 12345, 12345, *path.stat()[6:]))
    monkeypatch.setattr(files, "_status", lambda _: others)
    monkeypatch.setattr(os, "chown", refused)
    write_whole(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def refused(*_: object, **__: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "below.txt", tmp_path, tmp_path / ("n" * 300)):
        with pytest.raises(ModelMeterError, match=r"cannot be written \(.+\); choose another folder\."):
            write_whole(path, "text")
    assert os.listdir(tmp_path) == ["file"]


def test_the_longest_name_that_there_may_be(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_whole(path, "text")
    assert path.read_text() == "text"
    assert os.listdir(tmp_path) == [path.name]


def test_a_folder_that_takes_no_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("before")
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(
        ModelMeterError, match=r"no file can be made beside it .*replaced only when the new one is whole"
    ):
        write_whole(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "before"


def test_a_file_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("before")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ModelMeterError, match=r"file: cannot be written \(Permission denied\)"):
        write_whole(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "before"


# -- what a killed process leaves ---------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / ".file.unfinished").write_text("half")
    write_whole(tmp_path / "file", "text")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "text"


@POSIX
def test_two_writers_of_one_file(tmp_path: Path) -> None:
    """Each has its own unfinished file, and the last one to end wins; so it is where a stranger holds the name."""
    path = tmp_path / "file"
    (tmp_path / "precious").write_text("precious")
    with replacing(path) as one, replacing(path) as other:
        assert one.name == ".file.unfinished" != other.name
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"
    (tmp_path / ".file.unfinished").symlink_to("precious")
    write_whole(path, "text")
    assert sorted(os.listdir(tmp_path)) == [".file.unfinished", "file", "precious"]
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("number, left", [(signal.SIGTERM, []), (signal.SIGKILL, [".file.unfinished"])])
def test_a_process_that_is_ended(number: signal.Signals, left: list[str], tmp_path: Path) -> None:
    code = f"""
        import sys, time
        from pathlib import Path
        from modelmeter.files import replacing
        from modelmeter.process import as_program
        with as_program(), replacing(Path({str(tmp_path / "file")!r})) as temporary:
            temporary.write_text("half")
            print("writing", flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", "import textwrap; exec(textwrap.dedent(" + repr(code) + "))"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(number)
    assert process.returncode == (143 if number == signal.SIGTERM else -9)
    assert os.listdir(tmp_path) == left
    write_whole(tmp_path / "file", "text")
    assert os.listdir(tmp_path) == ["file"]


def test_on_the_disk_before_it_is_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the renaming leaves the new file, not an empty one."""
    done: list[str] = []
    replace, fsync = os.replace, os.fsync

    def noted_fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_replace(*places: Path) -> None:
        done.append("renamed")
        replace(*places)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write_whole(tmp_path / "file", "text")
    assert done == ["file", "renamed", "folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of a process here")
def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "file"
    path.write_text("before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(ModelMeterError, match=r"file: cannot be written \(File too large\)"):
            write_whole(path, "n" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["file"]


# -- links ---------------------------------------------------------------------------------------------------------


@POSIX
def test_a_link_stays_and_what_it_names_is_written(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    target = tmp_path / "there" / "target"
    target.write_text("before")
    target.chmod(0o600)
    (tmp_path / "here" / "second").symlink_to("../there/target")
    link = tmp_path / "here" / "first"
    link.symlink_to("second")
    write_whole(link, "text")
    assert link.is_symlink() and (tmp_path / "here" / "second").is_symlink()
    assert target.read_text() == "text"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert os.listdir(tmp_path / "there") == ["target"]


@POSIX
def test_links_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "new").symlink_to("target")
    write_whole(tmp_path / "new", "text")
    assert (tmp_path / "target").read_text() == "text"
    (tmp_path / "lost").symlink_to("unmounted/target")
    with pytest.raises(ModelMeterError, match=r"lost: is a link to .*unmounted/target, whose folder does not exist"):
        write_whole(tmp_path / "lost", "text")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ModelMeterError, match=r"a: cannot be written \(Too many levels of symbolic links\)"):
        write_whole(tmp_path / "a", "text")
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "lost", "new", "target"]


# -- pipes and devices ---------------------------------------------------------------------------------------------


@POSIX
def test_a_device_is_written_into() -> None:
    before = os.stat("/dev/null")
    write_whole(Path("/dev/null"), "text")
    assert os.stat("/dev/null") == before


@POSIX
def test_a_full_device_is_told() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no full device here")
    with pytest.raises(ModelMeterError, match=r"/dev/full: cannot be written \(No space left on device\)"):
        write_whole(Path("/dev/full"), "text")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@POSIX
def test_a_named_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "n" * 300_000  # more than a pipe holds
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_whole(pipe, text)
    reader.join()
    assert read == [text]
    assert os.listdir(tmp_path) == ["pipe"]


@POSIX
def test_a_pipe_that_nobody_reads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "READER_WAIT_S", 0.0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelMeterError, match="pipe: nobody reads this pipe; start its reader first"):
        write_whole(tmp_path / "pipe", "text")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@POSIX
def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.chdir(tmp_path)  # the whole path may be too long for one
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(ModelMeterError, match="socket: is a disk or a socket, over which nothing is written"):
            write_whole(Path("socket"), "text")


@contextmanager
def pipe_ends() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


@POSIX
def test_an_open_descriptor_is_written_into(tmp_path: Path) -> None:
    with pipe_ends() as (reader, writer):
        for place in (Path(f"/dev/fd/{writer}"), tmp_path / "link"):
            if place.parent == tmp_path:
                place.symlink_to(f"/dev/fd/{writer}")
            write_whole(place, "text")
            assert os.read(reader, 100) == b"text"
    with (tmp_path / "file").open("w") as file:  # not replaced under the feet of who has it open
        file.write("before, ")
        file.flush()
        write_whole(Path(f"/dev/fd/{file.fileno()}"), "after")
    assert (tmp_path / "file").read_text() == "before, after"
    with pytest.raises(ModelMeterError, match="cannot be written"):
        write_whole(Path("/dev/fd/987"), "text")


@POSIX
def test_names_of_standard_output(tmp_path: Path) -> None:
    assert is_standard_output(Path("/dev/stdout")) and is_standard_output(Path("/dev/fd/1"))
    assert not is_standard_output(Path("/dev/stderr")) and not is_standard_output(Path("1"))


@POSIX
def test_a_pipe_that_takes_little_at_a_time() -> None:
    with pipe_ends() as (reader, writer):
        os.set_blocking(writer, False)
        data = b"n" * 1_000_000
        read: list[bytes] = []

        def read_all() -> None:
            while sum(map(len, read)) < len(data):
                read.append(os.read(reader, 1 << 16))

        thread = threading.Thread(target=read_all)
        thread.start()
        write_all(writer, data)
        thread.join()
        assert b"".join(read) == data


# -- outputs and inputs --------------------------------------------------------------------------------------------


@POSIX
def test_an_output_is_no_input(tmp_path: Path) -> None:
    page, other = tmp_path / "page", tmp_path / "other"
    page.touch()
    other.touch()
    (tmp_path / "soft").symlink_to("page")
    os.link(page, tmp_path / "hard")
    for name in ("page", "soft", "hard", "../" + tmp_path.name + "/page"):
        with pytest.raises(ModelMeterError, match=r"report: .* is one of the inputs; give the output another name"):
            check_output("report", tmp_path / name, [other, page])
    check_output("report", other, [page, tmp_path / "missing", "n" * 300, "1275x1650"])
    check_output("report", tmp_path / "new", [page])


@POSIX
def test_an_output_is_outside_a_resumed_run(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for name in ("state", "state/new"):  # of a run that is yet to begin
        with pytest.raises(ModelMeterError, match=r"is in .*state, which remembers how far the run came"):
            check_output("corpus", tmp_path / name, [], state)
    state.mkdir()
    (tmp_path / "link").symlink_to("state")
    for name, resume in (("link/new", state), ("state/new", tmp_path / "link")):
        with pytest.raises(ModelMeterError, match="which remembers how far the run came"):
            check_output("corpus", tmp_path / name, [], resume)
    (state / "state.json").touch()
    os.link(state / "state.json", tmp_path / "hard")
    with pytest.raises(ModelMeterError, match=r"hard is a file of .*state under another name"):
        check_output("corpus", tmp_path / "hard", [], state)
    check_output("corpus", tmp_path / "rows", [], state)


@POSIX
def test_an_output_is_not_where_standard_output_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and the result in one file would be neither."""
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(files, "_STDOUT", out.fileno())
        with pytest.raises(ModelMeterError, match="out is where standard output goes; give the output another name"):
            check_output("corpus", tmp_path / "out")
        with pytest.raises(ModelMeterError, match="is standard output, where the result goes"):
            check_output("corpus", Path(f"/dev/fd/{out.fileno()}"))
    check_output("corpus", Path("/dev/null"))


def test_text_that_is_no_unicode(tmp_path: Path) -> None:
    assert encodable("scan-\udcff é.png") == "scan-\\udcff é.png"
    write_whole(tmp_path / "file", "\ud800")
    assert (tmp_path / "file").read_bytes() == b"\\ud800"
