"""A real kernel, as Jupyter starts it: what its cells show, what an interrupt leaves, what ends with it."""

import os
import time
import urllib.request
from types import SimpleNamespace

import forks
import pytest
from boards import ROOT
from jupyter_client.manager import start_new_kernel
from study_files import small

SECONDS = 120  # for machines that do many things at once


class Kernel:
    """A kernel with a client that keeps of each cell what a saved notebook would."""

    def __init__(self, folder):
        self.folder = folder
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(folder), env=env)

    def run(self, code, when_shown=lambda text: None):
        """Execute a cell; call back with each text that it shows, first or in place of another."""
        request, cell = (
            self.client.execute(code),
            SimpleNamespace(displays={}, updates=0, text="", result="", error=None),
        )
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            message = self.client.get_iopub_msg(timeout=SECONDS)
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != request:
                continue
            if kind in ("display_data", "update_display_data"):
                number = content["transient"].get("display_id", len(cell.displays))
                assert (number in cell.displays) == (kind == "update_display_data")
                cell.displays[number], cell.updates = content["data"], cell.updates + (kind != "display_data")
                when_shown(content["data"]["text/plain"])
            elif kind == "stream":
                cell.text += content["text"]
            elif kind == "execute_result":
                cell.result = content["data"]["text/plain"]
            elif kind == "error":
                cell.error, cell.text = content["ename"], cell.text + content["evalue"]
            elif kind == "status" and content["execution_state"] == "idle":
                return cell
        raise TimeoutError(code)

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    small(folder, "config.optimizer.learning_rate = grid(0.1, 0.2)")
    started = Kernel(folder)
    assert started.run("import mlgym_jax as mg; config = mg.load_config('study.py')").error is None
    yield started
    started.stop()


def test_a_cell_that_trains_is_one_display(kernel):
    cell = kernel.run("config.num_epochs = 3; result = mg.run(config, run_id='shown')")
    ((_, shown),) = cell.displays.items()
    assert cell.error is None and cell.updates >= 1 and cell.text == ""
    assert "DONE, epoch 6 of 6, 2 experiments (2 done)" in shown["text/plain"]
    assert shown["text/plain"].endswith("run: event_storage/shown") and "<progress" not in shown["text/html"]


def test_an_interrupted_cell_leaves_a_run_that_goes_on(kernel):
    stopped = []

    def interrupt(text):
        if not stopped and "best val/" in text:
            stopped.append(text)
            kernel.manager.interrupt_kernel()

    cell = kernel.run("config.num_epochs = 1000; mg.run(config, run_id='cut')", interrupt)
    (shown,) = cell.displays.values()
    assert cell.error == "KeyboardInterrupt" and "INTERRUPTED" in shown["text/plain"]
    command = shown["text/plain"].rsplit("go on with ", 1)[1]
    assert command == "mg.resume('event_storage/cut')"
    done = "[item.num_epochs for item in mg.load_run('event_storage/cut').experiments]"
    assert all(0 < number < 1000 for number in eval(kernel.run(done).result))
    cell = kernel.run(command)
    assert cell.result.startswith("RunResult('cut', DONE, 2 experiments"), cell
    assert eval(kernel.run(done).result) == [1000, 1000]


OWN_MODEL = """
from flax import linen as nn
WIDTH = 3
@mg.register("model", "of_a_cell")
class OfACell(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.Dense(WIDTH)(x))
"""
PREDICTS = """
import numpy as np, mlgym_jax as mg
print(mg.load_run("event_storage/own").experiments[0].predict(np.ones((7, 8), np.float32)).tolist())
"""


@pytest.fixture(scope="module")
def own(kernel):
    """What a run predicts whose model was defined in a cell, which has been edited since."""
    kernel.run(OWN_MODEL)
    kernel.run("config.num_epochs, config.model = 2, mg.component('of_a_cell')")
    assert kernel.run("mg.run(config, run_id='own')").error is None
    predicted = kernel.run(PREDICTS)
    assert kernel.run(OWN_MODEL.replace("return", "return 100 +")).error is None
    return predicted


def test_a_run_keeps_the_class_that_its_cell_had_and_the_next_one_takes_the_new(kernel, own):
    assert kernel.run(PREDICTS).text == own.text
    new = "print(mg.run(config, run_id='new').experiments[0].predict(np.ones((7, 8), np.float32)).min() > 50)"
    assert kernel.run(new).text == "True\n"


def test_a_model_of_a_cell_predicts_where_there_is_no_notebook(kernel, own):
    here = own
    elsewhere = forks.run("engine", code=PREDICTS, cwd=kernel.folder)
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert here.error is None and elsewhere.stdout == here.text and here.text.count("[") == 8


def test_the_board_outlives_an_interrupt_and_ends_with_the_kernel(kernel):
    cell = kernel.run("board = mg.show_board()")
    (shown,) = cell.displays.values()
    url = shown["text/plain"]
    assert f'<iframe src="{url}"' in shown["text/html"] and answers(url)
    kernel.manager.interrupt_kernel()
    assert kernel.run("board.is_running").result == "True" and answers(url)
    kernel.manager.shutdown_kernel(now=True)
    until = time.monotonic() + SECONDS
    while answers(url):
        assert time.monotonic() < until
        time.sleep(0.05)


def answers(url):
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status == 200
    except OSError:
        return False
