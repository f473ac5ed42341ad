"""`lenrl train`: compose, check, launch, and measure before against after."""

import sys
from collections.abc import Sequence

from lenrl.cli.arguments import Parser

EXAMPLES = (
    "lenrl train demo",
    "lenrl train drpo advantage.lam=0.2 trainer.max_steps=100 name=mild",
    "lenrl train my.yaml reward=kimi reward.weight=0.5 launch=multi_gpu launch.num_processes=4",
    "lenrl train grpo reward=mine --plugin mine.py",
)


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "train",
        "Train a model as a recipe says. The run's folder is output_dir, by default outputs/RECIPE/NAME; "
        "the same command again continues a run that was stopped.",
        EXAMPLES,
    )
    parser.recipe()
    parser.multirun()
    options = parser.read(arguments)

    from lenrl.api.runs import launch
    from lenrl.config import compose

    ended = launch(compose(options.recipe, options.overrides, options.plugin))
    if ended.said:
        sys.stderr.write(ended.said + "\n")
    return ended.code
