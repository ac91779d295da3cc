"""A process that imports programs once and forks a process for each request; `forks` starts it.

It has one thread and no JAX backend: nothing that a fork could lose. It ends when whoever started it is gone.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import random
import resource
import runpy
import select
import signal
import socket
import sys
import traceback
import types

MAX_REQUEST_BYTES = 1 << 17
JAX_SETTINGS = {
    "JAX_NUM_CPU_DEVICES": int,
    "JAX_PLATFORMS": str,
    "JAX_ENABLE_COMPILATION_CACHE": lambda text: text == "true",
}
_PROGRAMS = ("run", "find_learning_rate", "report", "publish", "evaluate", "export", "reproduce", "__main__")


def _import(names):
    """Import modules, and with `package.*` all of a package; forget the programs, which run as `__main__`."""
    for name in names:
        name, star, _ = name.partition(".*")
        module = importlib.import_module(name)
        if star:
            for found in pkgutil.walk_packages(module.__path__, f"{name}."):
                importlib.import_module(found.name)
    for name in list(sys.modules):
        package, _, last = name.rpartition(".")
        if package in ("mlgym_jax", "board_server") and last in _PROGRAMS:
            del sys.modules[name]
            vars(sys.modules[package]).pop(last, None)
    if "jax" in sys.modules and "LOWERED_DIR" in os.environ:
        sys.path.insert(0, os.path.dirname(__file__))
        importlib.import_module("lowered")
        del sys.path[0]


def _check():
    """See that a fork loses nothing. OpenBLAS ends its threads before the first, and starts some when it needs them."""
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"{threads} threads"
    bridge = sys.modules.get("jax._src.xla_bridge")
    assert bridge is None or not bridge._backends, "a JAX backend"


def _serve(control, names):
    """Answer requests; return (request, its files) in each process that is forked, and nothing here."""
    try:
        _import(names)
        _check()
        gc.collect()
        gc.freeze()  # what all share is not looked through, nor copied, in each
    except BaseException:
        control.send(traceback.format_exc().encode())
        raise
    control.send(b"ready")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # pytest is interrupted, and ends it
    children, poll = {}, select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == control.fileno():
                request, files, _, _ = socket.recv_fds(control, MAX_REQUEST_BYTES, 4)
                if not request:
                    os._exit(0)
                child = os.fork()
                if child == 0:
                    for other in (fd, *children, *(told for _, told in children.values())):
                        os.close(other)
                    control.detach()
                    return json.loads(request), files
                for given in files[:3]:
                    os.close(given)
                end = os.pidfd_open(child)
                children[end] = child, files[3]
                poll.register(end, select.POLLIN)
            else:
                child, told = children.pop(fd)
                _, status, used = os.wait4(child, 0)
                end = {"status": os.waitstatus_to_exitcode(status), "seconds": used.ru_utime + used.ru_stime}
                _tell(told, end)
                poll.unregister(fd)
                os.close(fd)


def _tell(told, what):
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it
        os.write(told, json.dumps(what).encode() + b"\n")
    os.close(told)


def _become(request, files):
    """Make of this process what a new interpreter would be."""
    *ends, told = files
    for number, end in enumerate(ends):
        os.dup2(end, number)
        os.close(end)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    if request["new_session"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    if (most := request["max_file_bytes"]) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    program, *words = request["argv"]
    sys.argv = [program, *words]
    sys.orig_argv = [sys.executable, program, request["module"] or request["code"], *words]
    sys.path.insert(0, os.getcwd() if request["module"] else "")
    for name, value in JAX_SETTINGS.items():  # what JAX took from the environment when it was imported
        if "jax" in sys.modules and name in os.environ:
            sys.modules["jax"].config.update(name.lower(), value(os.environ[name]))
    if "lowered" in sys.modules and os.environ.get("JAX_ENABLE_COMPILATION_CACHE") != "false":
        sys.modules["lowered"].keep(os.environ["LOWERED_DIR"])
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _tell(told, {"pid": os.getpid()})


def _run(request):
    if request["module"]:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = program = types.ModuleType("__main__")
        exec(compile(request["code"], "<string>", "exec"), vars(program))


if __name__ == "__main__":
    del sys.path[0]  # this folder
    _asked = _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
    _become(*_asked)
    _run(_asked[0])
