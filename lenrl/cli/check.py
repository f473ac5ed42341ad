"""`lenrl check`: all that can be known of a recipe before a model loads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from lenrl.cli.arguments import Parser
from lenrl.errors import BadInput

if TYPE_CHECKING:
    from lenrl.config import Recipe

EXAMPLES = (
    "lenrl check drpo",
    "lenrl check my.yaml launch=multi_gpu trainer.num_generations=16",
)


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "check",
        "Check a recipe without loading a model: keys, batch arithmetic, data audit, verifier timing, what "
        "the length penalty can move, the run's folder as it is now; and print the resolved recipe. Exit code 2: "
        "it can't be trained.",
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
    facts["refusals"] += _of_folder_and_hub(recipe)
    check.show(facts)
    return BadInput.exit_code if facts["refusals"] else 0


def _of_folder_and_hub(recipe: Recipe) -> list[str]:
    """Refusals of `lenrl train` that are about the run's folder as it is now, or the push at its end."""
    from lenrl.launch.run_folder import RunFolder
    from lenrl.report import hub
    from lenrl.training.prepare import prepare

    recipe = prepare(recipe).recipe  # with the settings that are chosen for its model
    said = []
    for look in (RunFolder(recipe).look, partial(hub.check, recipe)):
        try:
            look()
        except BadInput as fault:
            said.append(str(fault))
    return said
