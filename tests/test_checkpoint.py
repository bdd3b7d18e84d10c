"""Files of arrays: what is written comes back, and nothing ever sees half a file."""

import errno
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra import checkpoint

ARRAYS = {
    "f32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "f64": np.array([np.pi, -0.0, np.inf, np.nan]),
    "i64": np.array([-(2**63), 2**63 - 1]),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(2.5),
    "strided": np.arange(24.0).reshape(4, 6)[::2, ::-3].T,
}
posix = pytest.mark.skipif(os.name == "nt", reason="file modes and limits are POSIX's")


def entries(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that already has a content."""
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, {"w": np.ones(4)}, {"old": "yes"})
    return path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    metadata = {"text": "ß \n\0 🙂", "": "empty name"}
    checkpoint.save(tmp_path / "a", ARRAYS, metadata)
    arrays, found = checkpoint.load(tmp_path / "a")
    assert found == metadata
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
        assert arrays[name].tobytes() == array.tobytes()


def test_nothing_is_a_file_too(tmp_path: Path) -> None:
    checkpoint.save(str(tmp_path / "a"), {})
    assert checkpoint.load(str(tmp_path / "a")) == ({}, {})


def test_the_file_is_the_documented_format(tmp_path: Path) -> None:
    """Read with nothing but the format's description: length, JSON header, data."""
    checkpoint.save(tmp_path / "a", {"w": np.array([1.5, 2.5], np.float32)}, {"key": "value"})
    data = (tmp_path / "a").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert header["__metadata__"] == {"key": "value"}
    begin, end = header["w"]["data_offsets"]
    assert (header["w"]["dtype"], header["w"]["shape"]) == ("F32", [2])
    assert data[8 + size :][begin:end] == np.array([1.5, 2.5], "<f4").tobytes()


def test_loaded_arrays_are_the_callers_own(target: Path) -> None:
    arrays, _ = checkpoint.load(target)
    arrays["w"][0] = 7
    assert checkpoint.load(target)[0]["w"][0] == 1


@pytest.mark.parametrize("dtype", [object, np.int32, np.float16, "U1"])
def test_other_dtypes_are_refused_and_leave_nothing(tmp_path: Path, dtype: type) -> None:
    with pytest.raises(TypeError, match=r"serialize_safetensors: .*expected"):
        checkpoint.save(tmp_path / "a", {"w": np.zeros(2, dtype)})
    assert entries(tmp_path) == {}


def test_other_dtypes_in_a_file_are_refused_by_name(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + b"ab")
    with pytest.raises(
        ValueError, match=r"checkpoint.load: .*a: .*expected F32, F64 or I64, got U8"
    ):
        checkpoint.load(tmp_path / "a")


def test_truncated_anywhere_is_refused_by_name(target: Path) -> None:
    data = target.read_bytes()
    for size in range(len(data)):
        target.write_bytes(data[:size])
        with pytest.raises(
            ValueError, match=r"checkpoint.load: .*model.safetensors: expected a whole"
        ):
            checkpoint.load(target)


def test_surplus_bytes_are_refused(target: Path) -> None:
    target.write_bytes(target.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="expected a whole safetensors file"):
        checkpoint.load(target)


@given(at=st.integers(0, 120), byte=st.integers(0, 255))
def test_a_changed_byte_is_no_crash(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed"
    checkpoint.save(path, {"w": np.ones(4)}, {"old": "yes"})
    data = bytearray(path.read_bytes())
    data[at % len(data)] = byte
    path.write_bytes(data)
    try:
        checkpoint.load(path)
    except ValueError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\xff" * 64, b"\x80\x04N.", b"{}"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "other").write_bytes(data)
    with pytest.raises(ValueError, match="other: expected a whole safetensors file"):
        checkpoint.load(tmp_path / "other")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        checkpoint.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"checkpoint.save: .*nowhere"):
        checkpoint.save(tmp_path / "nowhere" / "a", {})


def test_a_folder_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"checkpoint.save: .*folder"):
        checkpoint.save(tmp_path / "folder", {})
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


@posix
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o027, 0o077])
def test_the_mode_is_that_of_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        checkpoint.save(tmp_path / "a", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


@posix
def test_a_link_stays_a_link(tmp_path: Path, target: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(target.name)
    checkpoint.save(link, {}, {"new": "yes"})
    assert link.is_symlink()
    assert checkpoint.load(target)[1] == {"new": "yes"}


@pytest.mark.parametrize(
    ("module", "function"), [(os, "fsync"), (Path, "replace")], ids=["fsync", "rename"]
)
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    function: str,
    error: BaseException,
) -> None:
    before = entries(target.parent)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(module, function, fail)
    with pytest.raises(type(error)) as caught:
        checkpoint.save(target, {"w": np.zeros(100)})
    assert entries(target.parent) == before
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert str(target) in str(caught.value)


@posix
def test_a_write_that_does_not_fit_leaves_the_old_file(target: Path) -> None:
    """The system itself refuses the 1001st byte, as it would on a full disk."""
    before = entries(target.parent)
    code = f"""if True:
        import resource, signal, numpy
        from recurra import checkpoint
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        checkpoint.save({str(target)!r}, {{"w": numpy.zeros(10_000)}})
    """
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "OSError" in result.stderr
    assert "checkpoint.save: File too large" in result.stderr
    assert entries(target.parent) == before


@posix
def test_the_data_is_on_disk_before_the_name(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, rename = os.fsync, Path.replace

    def recorded_sync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        steps.append(f"sync {kind}")
        sync(descriptor)

    def recorded_rename(self: Path, other: Path) -> Path:
        steps.append("rename")
        assert self.parent == other.parent
        return rename(self, other)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(Path, "replace", recorded_rename)
    checkpoint.save(target, {})
    assert steps == ["sync file", "rename", "sync folder"]


SAVE = """if True:
    import os, signal, sys, numpy
    from recurra import checkpoint
    sync = os.fsync
    def wait(descriptor):
        os.fsync = sync
        print("writing", flush=True)
        {then}
        sync(descriptor)
    os.fsync = wait
    checkpoint.save(sys.argv[1], {{"w": numpy.full(4, 7.0)}})
"""
DIE, WAIT = "os.kill(os.getpid(), signal.SIGKILL)", "input()"


def saving(path: Path, then: str) -> "subprocess.Popen[str]":
    """A process that is in the middle of saving to `path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", SAVE.format(then=then), str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@posix
class TestWhatIsLeft:
    """Of a save that had no time to end."""

    def test_the_next_save_of_the_same_file_removes_it(self, target: Path) -> None:
        before = target.read_bytes()
        for _ in range(2):
            with saving(target, DIE) as process:
                pass
            assert process.returncode == -9
            assert len(temporaries(target.parent)) == 1
        assert target.read_bytes() == before
        checkpoint.save(target.with_name("other"), {})
        assert len(temporaries(target.parent)) == 1
        checkpoint.save(target, {}, {"new": "yes"})
        assert temporaries(target.parent) == []
        assert checkpoint.load(target)[1] == {"new": "yes"}

    def test_that_of_a_process_that_lives_stays(self, target: Path) -> None:
        with saving(target, WAIT) as process:
            checkpoint.save(target, {}, {"mine": "yes"})
            assert len(temporaries(target.parent)) == 1
            assert checkpoint.load(target)[1] == {"mine": "yes"}
            process.communicate("go on\n")
        assert process.returncode == 0
        assert temporaries(target.parent) == []
        assert (checkpoint.load(target)[0]["w"] == 7).all()

    def test_one_that_is_removed_before_it_is_locked(
        self, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Somebody else may see the new file and take it for abandoned: another is made."""
        import fcntl

        lock, removed = fcntl.flock, []

        def late(descriptor: int, how: int) -> None:
            if not removed:
                removed.extend(temporaries(target.parent))
                target.with_name(removed[0]).unlink()
            lock(descriptor, how)

        monkeypatch.setattr(fcntl, "flock", late)
        checkpoint.save(target, {}, {"new": "yes"})
        assert len(removed) == 1
        assert [path.name for path in target.parent.iterdir()] == [target.name]
        assert checkpoint.load(target)[1] == {"new": "yes"}

    def test_without_locks_nothing_is_removed(
        self, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with saving(target, DIE):
            pass

        def none(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.flock", none)
        checkpoint.save(target, {}, {"new": "yes"})
        assert len(temporaries(target.parent)) == 1
        assert checkpoint.load(target)[1] == {"new": "yes"}

    def test_many_threads_save_one_file(self, target: Path) -> None:
        def save(i: int) -> None:
            checkpoint.save(target, {"w": np.full(1000, float(i))})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(save, range(50)))
        (w,) = checkpoint.load(target)[0].values()
        assert (w == w[0]).all()
        assert temporaries(target.parent) == []
