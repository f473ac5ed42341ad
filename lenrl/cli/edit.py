"""`lenrl edit`: attention heads changed so that a model thinks longer or shorter, without training."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lenrl.cli.arguments import Parser, completed
from lenrl.errors import validated

EXAMPLES = (
    "lenrl eval org/model task=gsm8k split=train samples=8 --out outputs/probe",
    "lenrl edit org/model outputs/probe --out outputs/edited heads=0.04",
    "lenrl eval org/model outputs/edited task=gsm8k samples=8",
)
# The fields of `lenrl.evaluation.head_edit.EditSettings`: help must not load pydantic.
OPTIONS = (
    "heads", "gamma", "toward", "compare", "short", "long", "examples", "device", "dtype", "revision", "tokenizer",
    "chat_template", "think_prefilled", "trust_remote_code",
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "edit",
        "Take out of a model's weights what some attention heads write towards short thinking, or with "
        "toward=shorter towards long. They are found in the model's completions of an evaluation, best of training "
        f"problems (docs/controls.md). Settings:\n  {', '.join(OPTIONS)}",
        EXAMPLES,
    )
    parser.add_argument("model", metavar="MODEL", help="tiny, a folder, a run's folder, or a hub id")
    parser.add_argument("evaluation", type=Path, metavar="EVAL_FOLDER", help="of these weights")
    settings = parser.add_argument("settings", nargs="*", metavar="key=value")
    completed(settings, "settings", names=[f"{name}=" for name in OPTIONS])
    parser.add_argument("--out", type=Path, required=True, metavar="NEW", help="for the model and edit.json")
    options = parser.read(arguments)

    from lenrl.config import sections
    from lenrl.evaluation.head_edit import EditSettings, edit

    chosen = validated(EditSettings, sections(options.settings, OPTIONS))
    done = edit(options.model, options.evaluation, options.out, chosen)
    total = sum(map(len, done["contributions"]))
    sys.stdout.write(f"{options.out}: {len(done['edited'])} of {total} heads edited\n")
    return 0
