"""Find a learning rate for a config by a short sweep of many, in one compiled program.

python -m mlgym_jax.find_learning_rate --config=configs/gs.py [--field=optimizer.learning_rate] [--json]
"""

from __future__ import annotations

import math
import sys
import types
from typing import Any

from mlgym_jax.command_line import DONE, Parser, answer, guarded, leave, parse_overrides, split_overrides
from mlgym_jax.errors import MlgymError
from mlgym_jax.execution.interruption import Watch, interruptible


def _main(arguments: list[str]) -> int:
    rest, texts = split_overrides(arguments)
    parser = Parser(
        prog="python -m mlgym_jax.find_learning_rate",
        description="Train for a few steps with each of many learning rates, print their losses, and suggest one. "
        "Nothing is written.",
        epilog="Fields of the config are overridden by --config.path=value. Exit status: 0 done, 2 the request was "
        "wrong.",
    )
    parser.add_argument("--config", metavar="FILE[:ARG]", help="the config file; ARG is handed to its get_config")
    parser.add_argument("--field", metavar="PATH", help="the learning rate's path; optimizer.learning_rate by default")
    parser.add_argument("--low", type=float, default=1e-6, metavar="RATE", help="the lowest rate; 1e-6 by default")
    parser.add_argument("--high", type=float, default=10.0, metavar="RATE", help="the highest rate; 10 by default")
    parser.add_argument("--num", type=int, default=29, metavar="N", help="how many rates; 29 by default, four a decade")
    parser.add_argument("--num_steps", type=int, default=200, metavar="N", help="steps with each; 200 by default")
    parser.add_argument("--plan", default="auto", help="as for mlgym_jax.run")
    parser.add_argument("--devices", type=int, metavar="N", help="how many local devices to use; all by default")
    parser.add_argument("--trust", action="store_true", help="execute the code of a run that somebody else made")
    options = parser.parse_args(rest)
    if options.config is None:
        raise MlgymError(
            "--config=FILE is missing; for example: python -m mlgym_jax.find_learning_rate --config=configs/gs.py"
        )
    from mlgym_jax.config.file import load_config, override
    from mlgym_jax.recording.learning_rates import find_learning_rate

    config = load_config(options.config)
    for name, value in parse_overrides(config, texts).items():
        override(config, name, value)
    names = ("field", "low", "high", "num", "num_steps", "plan", "devices", "trust")
    found = find_learning_rate(config, **{name: getattr(options, name) for name in names})
    if options.json:
        losses = [loss if math.isfinite(loss) else None for loss in found.losses.tolist()]
        answer({"field": found.field, "suggestion": found.suggestion, "rates": found.rates.tolist(), "losses": losses})
    else:
        print(found)
    return DONE


def main() -> None:
    """Entry point of the console script."""
    with Watch():
        leave(guarded(interruptible(_main)))


class _CallableModule(types.ModuleType):
    """This module and, in the Python API, a function; importing one must not hide the other."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        from mlgym_jax.recording.learning_rates import find_learning_rate

        return find_learning_rate(*arguments, **keywords)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    main()
