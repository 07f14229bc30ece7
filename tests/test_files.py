"""Files and folders appear whole or not at all."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from safetensors import SafetensorError

import chestseg
from chestseg.files import NoSpace, exclusive, remove_unfinished, require_space, sha256_of, whole_file, whole_folder

SERIALIZING = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
KILLED = """
import os, signal, sys
from chestseg.files import whole_file
with whole_file(sys.argv[1]) as temporary:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = tmp_path / "deep" / ".done"
    kept.mkdir(parents=True)
    (kept / "a.json").write_text("{}")
    env = {"PYTHONPATH": str(Path(chestseg.__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "deep" / "a.txt")], env=env, check=False)
    assert len(list((tmp_path / "deep").iterdir())) == 2
    remove_unfinished(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept / "a.json"]


def test_a_file_replaces_the_old_one_only_on_success(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with whole_file(path) as temporary:
        temporary.write_text("one")
    with pytest.raises(RuntimeError), whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "one"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_folder_replaces_the_old_one_only_on_success(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    for content in ("one", "two"):
        with whole_folder(path) as temporary:
            (temporary / content).write_text(content)
    with pytest.raises(RuntimeError), whole_folder(path) as temporary:
        (temporary / "three").write_text("half")
        raise RuntimeError
    assert [p.name for p in path.iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
@pytest.mark.parametrize("bare", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OSError("4096 requested and 512 written"), SERIALIZING])
def test_a_full_disk_is_told_with_the_file(tmp_path: Path, whole: Callable[..., AbstractContextManager[Path]], bare: Exception) -> None:
    path = tmp_path / "shards" / "00003"
    with pytest.raises(OSError, match="No space left on device") as told, whole(path):
        raise type(bare)(*bare.args)  # a new one: it is changed on its way
    assert told.type is OSError and told.value.filename == str(path) and told.value.errno == errno.ENOSPC
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(
    "error", [ConnectionError("the bucket"), OSError("no answer from the bucket"), FileNotFoundError(2, "No", "other")]
)
def test_other_errors_pass_as_they_are(tmp_path: Path, error: OSError) -> None:
    before = str(error)
    with pytest.raises(type(error)) as told, whole_file(tmp_path / "a"):
        raise error
    assert str(told.value) == before


def test_a_known_digest(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_too_little_space_names_folder_and_need(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1, "a byte")
    with pytest.raises(NoSpace, match=r"checkpoints needs .* GB .* free: free some space or choose another folder"):
        require_space(tmp_path, 2**60, "checkpoints")


def test_a_folder_that_another_process_holds_is_refused(tmp_path: Path) -> None:
    program = (
        "import sys; from chestseg.files import exclusive\nwith exclusive(sys.argv[1], 'x'): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="being trained by another process"), exclusive(tmp_path, "trained"):
            pass
        other.communicate("")
    with exclusive(tmp_path, "trained"):
        pass
