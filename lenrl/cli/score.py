"""`lenrl score`: rewards and advantages of logged rollouts."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lenrl.cli.arguments import Parser

EXAMPLES = (
    "lenrl score drpo batch.jsonl advantage.max_length=1000 advantage.lam=0.1",
    "lenrl score kimi outputs/grpo/first reward.weight=0.4",
    "lenrl score kimi outputs/grpo/first --figures",
    "lenrl score palu visit1.jsonl --save-state state.json",
    "lenrl score palu visit2.jsonl --state state.json --step 8",
)
CAP = ("trainer", "max_completion_length")


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "score",
        "Rewards and advantages of logged completions, one JSON object a line: prompt, length, correct, ... "
        "A file is one generation batch; lines with one prompt are a group of at least 2. Of a run's completions each "
        "file is a batch, and they are scored one after the other. Output: JSON lines, in order.",
        EXAMPLES,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name (`lenrl ls`) or a YAML file")
    parser.add_argument(
        "rollouts",
        metavar="ROLLOUTS",
        type=Path,
        help="a file of JSON lines, - for standard input, or a run, its completions/ or a file in there",
    )
    parser.overrides()
    parser.plugin()
    parser.add_argument(
        "--step", type=int, metavar="T", help="completed optimizer steps (default: the run's, else 0)"
    )
    parser.add_argument("--state", type=Path, metavar="IN.json", help="the strategies' state before")
    parser.add_argument("--save-state", type=Path, metavar="OUT.json", help="write their state after")
    parser.add_argument(
        "--figures",
        action="store_true",
        help="of each batch, as in metrics.jsonl, instead of a line a completion",
    )
    options = parser.read(arguments)

    from lenrl.cli.option_words import require_trainer_fields
    from lenrl.config import compose, sets
    from lenrl.dryrun.score import score

    require_trainer_fields(options.overrides)
    recipe = compose(options.recipe, options.overrides, options.plugin)
    rows = score(
        recipe,
        options.rollouts,
        step=options.step,
        state_in=options.state,
        state_out=options.save_state,
        max_length=recipe.trainer["max_completion_length"] if sets(options.overrides, CAP) else None,
        figures=options.figures,
    )
    sys.stdout.write("".join(json.dumps(row) + "\n" for row in rows))
    return 0
