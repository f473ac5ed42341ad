"""`lenrl merge`: an adapter put into its base, for programs that load whole models only."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lenrl.cli.arguments import Parser
from lenrl.errors import BadInput

EXAMPLES = (
    "lenrl merge outputs/drpo/NAME    # writes outputs/drpo/NAME/merged",
    "lenrl merge path/to/adapter path/to/merged",
)


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "merge",
        "Put an adapter into its base. Weights keep the base's precision, in which the sum is rounded: greedy "
        "completions can differ from the adapter's own in a few places, `lenrl eval` compares the two. On the CPU; "
        "an adapter of a quantised base (QLoRA) is put into that base as its author published it.",
        EXAMPLES,
    )
    parser.add_argument("adapter", metavar="ADAPTER", help="a run's folder or an adapter's")
    parser.add_argument(
        "out", nargs="?", type=Path, metavar="FOLDER", help="default: `merged`, beside the adapter's folder"
    )
    options = parser.read(arguments)

    from lenrl.generation.pretrained import ModelOptions, find

    source = Path(find(options.adapter))
    if not (source / "adapter_config.json").is_file():
        raise BadInput(f"{options.adapter} holds no adapter; give a run's folder or an adapter's")
    out = options.out or source.parent / "merged"
    if out.exists():
        raise BadInput(f"{out} exists; name another folder: lenrl merge {options.adapter} FOLDER")

    from lenrl.generation.transformers_engine import load

    loaded = load(str(source), ModelOptions(device="cpu", dtype="auto"))
    model = loaded.model.merge_and_unload(safe_merge=True)  # refuses sums that are not finite
    model.save_pretrained(out)
    loaded.info.tokenizer.save_pretrained(out)
    sys.stdout.write(f"{out}\n")
    return 0
