"""A file that is written whole is the old one or the new one, whatever happens to its writer."""

import os
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

from mlgym_jax.events.files import write_whole
from mlgym_jax.run_folder import folder as run_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_made_with_its_folder_and_replaced(tmp_path):
    path = tmp_path / "0" / "card.json"
    write_whole(str(path), b"one")
    assert path.read_bytes() == b"one"
    write_whole(str(path), b"two", fsync=False)
    assert (path.read_bytes(), names(path.parent)) == (b"two", ["card.json"])
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode  # what the umask says, as of any other file


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys; from mlgym_jax.events.files import write_whole;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "write_whole(sys.argv[1], b'x' * 1000)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["run.json"])


@pytest.mark.parametrize("fsync", [True, False])
def test_the_file_is_on_the_disk_before_its_name_and_its_name_before_the_end(tmp_path, monkeypatch, fsync):
    done, real_fsync, real_replace = [], os.fsync, os.replace

    def synced(fd):
        done.append(os.readlink(f"/proc/self/fd/{fd}"))
        real_fsync(fd)

    def replaced(source, target):
        done.append((source, target))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    path = str(tmp_path / "config.json")
    write_whole(path, b"{}", fsync=fsync)
    [(temporary, target)] = [entry for entry in done if isinstance(entry, tuple)]
    assert target == path and os.path.dirname(temporary) == str(tmp_path)
    assert done == ([temporary, (temporary, path), str(tmp_path)] if fsync else [(temporary, path)])


def test_of_writers_at_the_same_time_one_wins_and_all_of_it(tmp_path):
    path = tmp_path / "config.json"
    texts = [bytes([letter]) * 100_000 for letter in b"abcd"]
    threads = [threading.Thread(target=write_whole, args=(str(path), text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in texts and names(tmp_path) == ["config.json"]


def test_a_file_name_that_is_no_text_is_recorded_and_read_again(tmp_path):
    run_folder.write_json(str(tmp_path / "run.json"), {"command": ["--config=\udcff.py"]})
    assert (tmp_path / "run.json").read_bytes().isascii()
    assert run_folder.read_json(str(tmp_path / "run.json")) == {"command": ["--config=\udcff.py"]}
