#!/usr/bin/env python3
"""Puts an adapter into its base, for programs that load whole models only.

    scripts/merge.py outputs/drpo/NAME                  # writes outputs/drpo/NAME/merged
    scripts/merge.py path/to/adapter path/to/merged

The first one is a run's folder or an adapter's. Weights keep the base's precision, in which the sum is rounded: greedy
completions can differ from the adapter's own in a few places. On the CPU; an adapter of a quantised base (QLoRA) is
put into that base as its author published it. `lenrl eval` compares the two.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lenrl.errors import LenrlError
from lenrl.generation.pretrained import ModelOptions, find
from lenrl.generation.transformers_engine import load


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("adapter", help="a run's folder or an adapter's")
    parser.add_argument("out", nargs="?", type=Path, help="default: `merged`, beside the adapter's folder")
    options = parser.parse_args()
    try:
        source = Path(find(options.adapter))
        if not (source / "adapter_config.json").is_file():
            parser.error(f"{options.adapter} holds no adapter, it is whole already")
        out = options.out or source.parent / "merged"
        if out.exists():
            parser.error(f"{out} exists; name another folder")
        loaded = load(str(source), ModelOptions(device="cpu", dtype="auto"))
    except LenrlError as fault:
        parser.error(str(fault))
    model = loaded.model.merge_and_unload(safe_merge=True)  # refuses sums that are not finite
    model.save_pretrained(out)
    loaded.info.tokenizer.save_pretrained(out)
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
