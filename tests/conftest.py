"""Tests are stricter than users: strict dtype promotion, rank promotion raises, 4 CPU devices, warnings are errors."""

import collections
import gc
import importlib.metadata
import os
import pathlib
import signal
import sys
from collections.abc import Iterator

# Before jax is imported, and inherited by the processes that tests start.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
# Programs here are many and run for a moment: to compile them takes a quarter of the processor time so.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    # A flag that XLA does not know ends the process; that of JAX 0.12 does not know this one.
    + " --xla_cpu_use_fusion_emitters=false" * importlib.metadata.version("jaxlib").startswith("0.10."),
)

os.environ.pop("COLUMNS", None)  # which workers of the suite are given; a report's tables follow it

import hypothesis
import jax
import pytest

# No test depends on the clock of a busy machine; examples that failed would be written beside the sources.
hypothesis.settings.register_profile(
    "here", deadline=None, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("here")

gc.set_threshold(50_000, 20, 50)  # garbage is looked for seldom: imports and tracing make objects by the million

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

# Written by PyTorch, which is no dependency: it makes the values that tests/test_reference_models.py reads.
collect_ignore = ["reference_models.py"]

pytest_plugins = ["page_fixtures", "notebook_fixtures", "hooks"]  # one board for all modules that test the page

# Whoever starts the suite in the background may have it ignore these, which the processes of tests inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure() -> None:
    """Keep compiled programs in the user's cache folder: most of the suite's time would go into compiling.

    What an earlier session, another worker or a process of a test has compiled is taken from there, also where no run
    is launched. $MLGYM_JAX_CACHE_DIR names another folder; with `off` everything is compiled anew.
    """
    from mlgym_jax.events.cache import cache_home
    from mlgym_jax.execution.compile_cache import machine

    home = cache_home()
    if home is None:
        return
    settings = {
        "jax_compilation_cache_dir": str(home / "tests" / machine()),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # for the processes that tests start
    load_once()
    if jax.__version__.startswith("0.10."):  # another JAX may lower by more than what is looked at
        import lowered

        os.environ["LOWERED_DIR"] = str(home / "tests" / f"{machine()}-lowered")  # for the processes that are forked
        lowered.keep(os.environ["LOWERED_DIR"])


def load_once(num_kept: int = 100) -> None:
    """Load what is in the cache once a process: it takes a sixth of a small run, and many tests run the same programs.

    The file is still read each time, so that one that is gone, or damaged, is so here, too.
    """
    from jax._src import compilation_cache as cache

    if not hasattr(cache, "get_executable_and_time") or not hasattr(cache, "_get_cache"):
        return  # of another JAX: then each is loaded again
    real, kept = cache.get_executable_and_time, collections.OrderedDict()

    def loaded(cache_key, compile_options, backend, executable_devices, *callbacks):  # JAX 0.12 hands over the last
        files = cache._get_cache(backend)
        written = None if files is None else files.get(cache_key)
        key = cache_key, written, executable_devices
        found = kept.pop(key, None) or real(cache_key, compile_options, backend, executable_devices, *callbacks)
        if written is not None and not any(callbacks):
            kept[key] = found
        if len(kept) > num_kept:
            kept.popitem(last=False)
        return found

    cache.get_executable_and_time = loaded


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Save what a worker has run, for coverage: xdist gives it ten seconds to end, and kills it then."""
    if hasattr(session.config, "workerinput") and "COVERAGE_PROCESS_CONFIG" in os.environ:
        import coverage

        if (measured := coverage.Coverage.current()) is not None:
            measured.stop()
            measured.save()


def pytest_collection_finish() -> None:
    """Do not look for garbage among what was imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def data_cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Keep data sets that tests build in one folder of this session, shared with the processes that tests start."""
    folder = tmp_path_factory.getbasetemp().parent / "mlgym_jax_data"
    os.environ["MLGYM_JAX_DATA_DIR"] = str(folder)
    os.environ["MLGYM_JAX_CACHE_DIR"] = str(folder)
    return folder


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register what it likes, and forget it afterwards."""
    forget_afterwards(monkeypatch)


@pytest.fixture(scope="module")
def modules_registry() -> Iterator[None]:
    """Let a module's fixtures register what they like: a worker may come back to the module, and make them again."""
    with pytest.MonkeyPatch.context() as patch:
        forget_afterwards(patch)
        yield


def forget_afterwards(patch: pytest.MonkeyPatch) -> None:
    from mlgym_jax.components import registry

    registry.kinds()  # what is built in, first
    patch.setattr(registry, "_registry", {kind: dict(names) for kind, names in registry._registry.items()})


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
