"""`lenrl attack`: reward hacks tried on a recipe before training."""

from collections.abc import Sequence
from pathlib import Path

from lenrl.cli.arguments import Parser
from lenrl.errors import BadInput
from lenrl.files import write_json

EXAMPLES = (
    "lenrl attack length_penalty",
    "lenrl attack curriculum reward.shape=band --step 300 trainer.max_completion_length=512",
    "lenrl attack my.yaml --plugin mine.py --json attack.json --fail-on-pay",
)


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "attack",
        "Try reward hacks (empty thinking, many boxes, stalling, wrong but short, ...) on a recipe's verifier, "
        "reward and advantage, without a model. Each stands in groups of honest completions of real problems: "
        "none, some or all of them right, all too long, or half the group hacks.\n\n"
        "A hack pays if it is pushed up though wrong, or above an honest right answer; it leaks if it is pushed "
        "down less than an honest wrong one, or may ignore what the prompt asked for at no cost. Differences "
        "below 5 % of the gap between right and wrong are left out. Exit code 0 whatever is found, unless "
        "--fail-on-pay.",
        EXAMPLES,
    )
    parser.recipe()
    parser.add_argument(
        "--step", type=int, default=0, metavar="T", help="completed optimizer steps (default 0)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was found")
    parser.add_argument("--fail-on-pay", action="store_true", help="exit code 1 if a hack pays")
    options = parser.read(arguments)

    from lenrl.cli.option_words import require_trainer_fields
    from lenrl.config import compose
    from lenrl.dryrun.attack import attack, show

    require_trainer_fields(options.overrides)
    result = attack(compose(options.recipe, options.overrides, options.plugin), options.step)
    if options.json is not None:
        try:
            write_json(options.json, result)
        except OSError as fault:
            raise BadInput(
                f"--json {options.json} can't be written: {fault.strerror}. Choose another place."
            ) from None
    show(result)
    return 1 if options.fail_on_pay and result["pays"] else 0
