"""Where compiled programs are kept: in the user's cache, unless JAX was told or a variable says otherwise."""

import subprocess
import sys

import jax
import pytest
from conftest import ROOT

from mlgym_jax.execution.compile_cache import machine, reading_compile_cache, use_compile_cache

SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture
def untold():
    """JAX as it is where nobody told it about a cache."""
    before = {name: jax.config.values[name] for name in SETTINGS}
    for name, value in zip(SETTINGS, (None, 1.0, 0), strict=True):
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def used():
    use_compile_cache()
    return tuple(jax.config.values[name] for name in SETTINGS)


@pytest.mark.usefixtures("untold")
def test_the_folder_is_the_variable_s_and_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("MLGYM_JAX_CACHE_DIR", str(tmp_path / "deep"))
    assert used() == (str(tmp_path / "deep/compiled" / machine()), 0.2, -1)
    assert (tmp_path / "deep/compiled" / machine()).is_dir()


@pytest.mark.usefixtures("untold")
def test_the_folder_is_else_in_the_user_s_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("MLGYM_JAX_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert used()[0] == str(tmp_path / "mlgym_jax/compiled" / machine())


@pytest.mark.usefixtures("untold")
def test_nothing_is_kept_where_it_is_off_or_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("MLGYM_JAX_CACHE_DIR", "off")
    assert used() == (None, 1.0, 0)
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLGYM_JAX_CACHE_DIR", str(tmp_path / "file/below"))
    assert used() == (None, 1.0, 0)


@pytest.mark.usefixtures("untold")
def test_what_only_reads_keeps_nothing_and_makes_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MLGYM_JAX_CACHE_DIR", str(tmp_path / "deep"))
    for there in (False, True):
        with reading_compile_cache():
            assert bool(jax.config.values[SETTINGS[0]]) is there
            jax.jit(lambda x: x + 3.5)(1.0)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        assert jax.config.values[SETTINGS[1]] == (0.2 if there else 1.0)
        if not there:
            assert list(tmp_path.iterdir()) == []
            (tmp_path / "deep/compiled" / machine()).mkdir(parents=True)


@pytest.mark.usefixtures("untold")
def test_a_folder_that_jax_was_told_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("MLGYM_JAX_CACHE_DIR", str(tmp_path / "ours"))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    assert used() == (str(tmp_path / "theirs"), 1.0, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_finds_what_the_first_one_compiled(tmp_path, monkeypatch):
    for name in SETTINGS:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("MLGYM_JAX_CACHE_DIR", str(tmp_path))
    code = """
import jax, logging
from mlgym_jax.execution.compile_cache import use_compile_cache
use_compile_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.monitoring.register_event_listener(lambda event, **_: print(event.rsplit("/", 1)[-1]))
jax.jit(lambda x: x + 1)(1.0)
"""
    found = []
    for _ in range(2):
        out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT)
        found.append([line for line in out.split() if line in ("cache_hits", "cache_misses")])
    assert found == [["cache_misses"], ["cache_hits"]]
    assert any((tmp_path / "compiled" / machine()).iterdir())
