"""`lenrl check`: all that can be known of a recipe before a model loads."""

from collections.abc import Sequence

from lenrl.cli.arguments import Parser
from lenrl.errors import BadInput

EXAMPLES = (
    "lenrl check drpo",
    "lenrl check my.yaml launch=multi_gpu trainer.num_generations=16",
)


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "check",
        "Check a recipe without loading a model: keys, batch arithmetic, data audit, verifier timing, what "
        "the length penalty can move; and print the resolved recipe. Exit code 2: it can't be trained.",
        EXAMPLES,
    )
    parser.recipe()
    parser.multirun()
    given = parser.read(arguments)

    from lenrl.recipe_paths import find

    find(given.recipe)  # before what takes seconds to import

    from lenrl.config import compose
    from lenrl.launch.command import check as check_launch

    recipe = compose(given.recipe, given.overrides, given.plugin)
    check_launch(recipe.launch)

    from lenrl.dryrun import check

    facts = check.check(recipe)
    check.show(facts)
    return BadInput.exit_code if facts["refusals"] else 0
