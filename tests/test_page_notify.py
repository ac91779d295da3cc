"""Notifications of the browser: asked for by a button, of what comes from then on, each once, also after a reload."""

from boards import BoardProcess

from benchmarks.synthetic_runs import events
from mlgym_jax import events as ev
from mlgym_jax.events import EventLog

# What stands in for the browser's own, which shows nothing where there is no screen.
RECORDS = """
globalThis.shown = [];
globalThis.answer = "granted";
globalThis.Notification = class {
  constructor(title, { body }) { shown.push([title, body]); }
  static requestPermission() { return Promise.resolve(answer); }
};
"""


def failed(number, error):
    return ev.experiment_failed("live", experiment_id=number, epoch=1, error=error, stacktrace=None, now_ms=9)


def test_who_asks_is_told_once_of_what_comes(open_tab, tmp_path):
    log_path = tmp_path / "live" / "event_storage.log"
    log_path.parent.mkdir()
    board = BoardProcess(tmp_path)
    try:
        with EventLog.open(log_path) as log:
            log.append(list(events("live", num_experiments=6, num_epochs=3, name="<b>live</b>", finished=False)))
            log.append([failed(0, "before")])
            tab = open_tab(board.url)
            tab.context.add_init_script(script=RECORDS)
            page = tab.go("runs/live")
            button = page.get_by_role("button", name="Notify me")
            button.wait_for()
            page.evaluate("answer = 'denied'")
            button.click()
            page.get_by_role("button", name="The browser forbids it").wait_for()
            page.evaluate("answer = 'granted'")
            page.get_by_role("button", name="The browser forbids it").click()
            tab.wait_until("() => document.querySelector('.actions [aria-pressed=true]')")
            log.append([failed(2, "diverged: nan"), failed(1, "ValueError: x"), failed(4, "ValueError: x")])
            tab.wait_until("() => /1/.test(shown.flat()) && /4/.test(shown.flat()) && /2 diverged/.test(shown.flat())")
            told = page.evaluate("shown")
            words = "\n".join(body for _, body in told)  # in one frame, or one by one
            words = words.replace("2 experiments failed: 1, 4", "experiment 1 failed\nexperiment 4 failed")
            assert sorted(words.split("\n")) == ["experiment 1 failed", "experiment 2 diverged", "experiment 4 failed"]
            assert {title for title, _ in told} == {"<b>live</b>"}
            page.reload()
            button.wait_for()
            log.append([ev.run_finished("live", status="FAILED", num_failed=4, seconds=1.0, now_ms=10)])
            tab.wait_until("() => shown.length === 1")
            assert page.evaluate("shown") == [["<b>live</b>", "finished: FAILED"]]
            button.click()
            tab.wait_until("() => !document.querySelector('.actions [aria-pressed]')")
    finally:
        board.stop()
