"""The board's page in a frame of a notebook's page, which has another origin."""

import contextlib
import functools
import http.server
import threading

import mlgym_jax as mg


@contextlib.contextmanager
def notebook_page(folder, body):
    """Serve a page that holds what a cell shows; yield its address."""
    (folder / "index.html").write_text(f"<!doctype html><title>notebook</title>{body}", encoding="utf-8")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def test_a_cells_frame_shows_the_run_and_follows_it(cell, browser, storage, tmp_path):
    board = mg.show_board(storage, run_id="digits")
    page = browser.new_page()
    with notebook_page(tmp_path, cell.sent[-1][0]["text/html"]) as address:
        page.goto(address)
        frame = page.frame_locator("iframe")
        frame.get_by_text("digits-mlp").first.wait_for()
        assert frame.locator("html").evaluate("() => window.top !== window")
    page.close()
    board.stop()


def test_a_board_that_was_not_told_is_not_shown(browser, board, tmp_path):
    page = browser.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    with notebook_page(tmp_path, f'<iframe src="{board.url}"></iframe>') as address:
        page.goto(address)
        page.wait_for_timeout(500)
        assert any("frame-ancestors" in text for text in said)
        assert page.frame_locator("iframe").get_by_text("digits-mlp").count() == 0
    page.close()
