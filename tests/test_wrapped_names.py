"""What this project uses of libraries that is no public interface: each in one file, and still there as it was.

A test that fails here names the release that broke it, and the file that has to learn of it.
"""

import ast
import asyncio
import importlib
import importlib.metadata
import inspect
import pathlib
import socket

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# file -> the private names of other packages in it
WRAPPERS = {
    "mlgym_jax/execution/backend.py": {"jax._src"},
    "mlgym_jax/data/quiet_tfds.py": {"tqdm_utils._active"},
}
OWN = ("mlgym_jax", "board_server")
DOCUMENTED = {"os._exit"}  # public in spite of its name

# Where Quart keeps the messages of a WebSocket that are not taken yet.
QUART = [
    ("quart", "quart.asgi:ASGIWebsocketConnection.__init__", ["self.queue: asyncio.Queue = asyncio.Queue()"]),
    ("quart", "quart.asgi:ASGIWebsocketConnection.handle_messages", ["await self.queue.put("]),
]
if hasattr(importlib.import_module("quart.wrappers.websocket"), "Buffer"):  # from 0.23 on
    QUART = [
        ("quart", "quart.wrappers.websocket:Buffer.__init__", ["self._queue = asyncio.Queue"]),
        ("quart", "quart.wrappers.websocket:Buffer.put", ["await self._queue.put("]),
        ("quart", "quart.wrappers.websocket:Websocket.__init__", ["self.buffer = self.buffer_class()"]),
        ("quart", "quart.asgi:ASGIWebsocketConnection.handle_messages", ["await websocket.buffer.put("]),
    ]
RELYING = {"quart": "board_server/requests.py"}


def broken(package, file, what):
    return f"{package} {importlib.metadata.version(package)}: {what}; {file} relies on it"


def private_names(path):
    """Yield the private names of other packages that a file imports, or reads from what it imports."""
    tree, foreign = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        if modules[0].split(".")[0] in OWN:
            continue
        foreign.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        for words in [*modules, *(alias.name for alias in node.names)]:
            if any(word.startswith("_") and not word.startswith("__") for word in words.split(".")):
                yield words
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            base = node.value
            while isinstance(base, ast.Attribute):
                base = base.value
            if isinstance(base, ast.Name) and base.id in foreign:
                yield ast.unparse(node)


def test_private_names_of_other_packages_stand_in_their_wrappers_alone():
    found = {}
    for package in OWN:
        for path in (ROOT / package).rglob("*.py"):
            if names := set(private_names(path)) - DOCUMENTED:
                found[str(path.relative_to(ROOT))] = names
    assert found == WRAPPERS


def test_jax_tells_whether_its_backends_are_started():
    from jax._src import xla_bridge

    asked = getattr(xla_bridge, "backends_are_initialized", None)
    what = broken(
        "jax", "mlgym_jax/execution/backend.py", "no backends_are_initialized() -> bool in jax._src.xla_bridge"
    )
    assert callable(asked) and not inspect.signature(asked).parameters, what
    assert isinstance(asked(), bool), what


def test_jax_says_what_a_program_reads():
    import jax

    file = "mlgym_jax/core/dead_code.py"
    what = broken("jax", file, "jax.interpreters.partial_eval.dce_jaxpr(jaxpr, used) -> (jaxpr, inputs used) is gone")
    drop = getattr(importlib.import_module("jax.interpreters.partial_eval"), "dce_jaxpr", None)
    assert callable(drop), what
    jaxpr = jax.make_jaxpr(lambda x, y: (x * 2, y + 1))(1.0, 2.0).jaxpr
    assert list(drop(jaxpr, [True, False])[1]) == [True, False], what


def test_tfds_tells_whether_its_progress_bars_are_on():
    from tensorflow_datasets.core.utils import tqdm_utils

    what = broken("tensorflow-datasets", "mlgym_jax/data/quiet_tfds.py", "tqdm_utils._active is not what is set")
    before = getattr(tqdm_utils, "_active", None)
    assert isinstance(before, bool), what
    try:
        for active in (False, True):
            tqdm_utils.display_progress_bar(active)
            assert tqdm_utils._active is active, what
    finally:
        tqdm_utils.display_progress_bar(before)


@pytest.mark.parametrize(
    ("package", "where", "names"),
    [
        ("hypercorn", "hypercorn.protocol.ws_stream:WSStream", ["handle"]),
        (
            "hypercorn",
            "hypercorn.protocol.h11:H11Protocol",
            ["_check_protocol", "_create_stream", "_maybe_recycle", "_send_error_response", "handle"],
        ),
        ("hypercorn", "hypercorn.protocol.ws_stream:WebsocketBuffer", ["extend"]),
        (
            "hypercorn",
            "hypercorn.asyncio.tcp_server:TCPServer",
            ["_close", "_idle_timeout", "_read_data", "protocol_send"],
        ),
        (
            "wsproto",
            "wsproto.extensions:PerMessageDeflate",
            ["frame_inbound_payload_data", "frame_inbound_complete", "frame_inbound_header"],
        ),
        ("quart", "quart.asgi:ASGIWebsocketConnection", ["handle_messages"]),
    ],
)
def test_methods_that_connections_are_mended_by(package, where, names):
    module, name = where.split(":")
    found = getattr(importlib.import_module(module), name, None)
    for method in names:
        what = broken(package, "board_server/connections.py", f"no method {method} of {where}")
        assert inspect.isfunction(getattr(found, method, None)), what


@pytest.mark.parametrize(
    ("package", "where", "words"),
    [
        ("hypercorn", "hypercorn.protocol.ws_stream:WSStream.__init__", ["self.app_put", "self.buffer", "self.closed"]),
        ("hypercorn", "hypercorn.protocol.ws_stream:WebsocketBuffer.extend", ["self.length", "self.max_length"]),
        ("hypercorn", "hypercorn.protocol.ws_stream:WSStream._handle_events", ["FrameTooLargeError", "self.buffer"]),
        ("hypercorn", "hypercorn.protocol.ws_stream:Handshake.accept", ["[PerMessageDeflate()]"]),
        (
            "hypercorn",
            "hypercorn.asyncio.tcp_server:TCPServer.__init__",
            ["self.writer", "self.idle_task", "self.state = state"],
        ),
        (
            "hypercorn",
            "hypercorn.asyncio.tcp_server:TCPServer.run",
            ["self._idle_timeout", "self._read_data()", "ConnectionState(self.state)"],
        ),
        ("hypercorn", "hypercorn.asyncio.run:worker_serve", ["TCPServer("]),
        ("hypercorn", "hypercorn.protocol.h11:H11Protocol._create_stream", ["WSStream("]),
        ("hypercorn", "hypercorn.protocol.h11:H11Protocol._create_stream", ["HTTPStream("]),
        ("hypercorn", "hypercorn.protocol.h11:H11Protocol._maybe_recycle", ["self.can_read.set()", "Closed()"]),
        ("hypercorn", "hypercorn.protocol.http_stream:HTTPStream.__init__", ["self.closed"]),
        (
            "hypercorn",
            "hypercorn.asyncio.tcp_server:TCPServer.protocol_send",
            ["self.send_lock", "self.writer.drain()"],
        ),
        ("hypercorn", "hypercorn.protocol:ProtocolWrapper.__init__", ["self.protocol = H11Protocol("]),
        ("hypercorn", "hypercorn.protocol.h11:H11Protocol.__init__", ["self.connection: ", "h11_max_incomplete_size"]),
        (
            "hypercorn",
            "hypercorn.protocol.h11:H11Protocol._check_protocol",
            ["H2ProtocolAssumedError", "H2CProtocolReq"],
        ),
        (
            "hypercorn",
            "hypercorn.protocol.h11:H11Protocol._handle_events",
            ["await self._check_protocol(event)", "await self._create_stream(event)", "self.connection.next_event()"],
        ),
        (
            "wsproto",
            "wsproto.extensions:PerMessageDeflate.frame_inbound_payload_data",
            ["self._inbound_compressed", "self._inbound_is_compressible", "self._decompressor.decompress("],
        ),
        *QUART,
    ],
)
def test_what_connections_rely_on_is_used_where_it_was(package, where, words):
    module, _, names = where.partition(":")
    found = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name, None)
    file = RELYING.get(package, "board_server/connections.py")
    assert inspect.isfunction(found), broken(package, file, f"no {where}")
    source = inspect.getsource(found)
    for word in words:
        assert word in source, broken(package, file, f"{where} does without {word}")


def test_late_failures_of_orbax_can_be_told_by_their_names():
    import orbax.checkpoint

    file = "mlgym_jax/checkpoint/late_failures.py"
    there = pathlib.Path(orbax.checkpoint.__file__).parts
    assert "orbax" in there, broken("orbax-checkpoint", file, f"its code is in {there}, not in a folder `orbax`")
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):  # what CPython says of it
        loop.call_soon(print)


def test_a_websocket_client_shows_its_socket():
    from websockets.sync.client import ClientConnection, ClientProtocol
    from websockets.uri import parse_uri

    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = ClientConnection(ours, ClientProtocol(parse_uri("ws://localhost/")))
        what = broken("websockets", "mlgym_jax/publishing/stream.py", "a connection has no `socket`")
        assert getattr(connection, "socket", None) is ours, what
        theirs.close()
        connection.close_socket()
