#!/usr/bin/env python3
"""Seconds of a training step: stock TRL against lenrl, in turns in one process.

    scripts/bench.py                              # early, late, nothing to gain: some minutes on two CPU cores
    scripts/bench.py --cases late,late-10m --rounds 5 --json bench.json
    scripts/bench.py --cases growth,memory        # G, length, model size; peak memory of the update

Stock TRL is its `GRPOTrainer` with a reward function that gives lenrl's verdicts; lenrl's trainer is what `lenrl train
grpo` builds. Both have the same model, problems and settings, and a learning rate of about 0. They take turns of a few
steps; a ratio is TRL's seconds over lenrl's in one turn, of which the median and [smallest, largest] are printed.
`late` needs the model that the demo trains (--trained), and trains it if it is not there. With a GPU both use it: in
bfloat16, and with vLLM where that is installed. On a machine with other work, --cpu-time counts this process's own
seconds, without those of the verifier's workers.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import trl
from bench_memory import peak_is_honest
from bench_sides import Lenrl, Settings, Stock
from rich.console import Console
from rich.table import Table
from transformers.utils import logging as transformers_logging

PHASES = ("step", "generate", "verify", "update")
UPDATE, PEAK = ("update",), ("peak_mib",)  # seconds; MiB that the update takes at most
RANDOM = {"1m": (128, 5), "10m": (320, 8)}  # models with random weights: width, layers


@dataclass(frozen=True)
class Case:
    """Batches to train on, and what of a step is measured."""

    model: str  # tiny | trained | a size in RANDOM
    completions: str = "sampled"  # sampled: by the model | tiny, trained: by that one | uniform: made up
    prompts: int = 16
    group: int = 8
    cap: int = 192  # tokens
    phases: tuple[str, ...] = PHASES


CASES = {
    "early": Case("tiny"),
    "late": Case("trained"),
    # nothing to gain: all completions equally long, no flat group; sampling that ends at the cap everywhere
    "uniform": Case("tiny", "uniform", cap=96, phases=UPDATE),
    "uniform-sampled": Case("tiny", cap=24, phases=("generate",)),
    "early-10m": Case("10m", "tiny", prompts=8, phases=UPDATE),
    "late-10m": Case("10m", "trained", prompts=8, phases=UPDATE),
    "uniform-10m": Case("10m", "uniform", prompts=4, cap=96, phases=UPDATE),
    **{f"group-{G}": Case("tiny", prompts=128 // G, group=G) for G in (4, 16, 32)},
    **{f"length-{cap}": Case("tiny", "uniform", cap=cap, phases=UPDATE) for cap in (48, 192, 384)},
    **{f"size-{size}": Case(size, "tiny", prompts=4, phases=UPDATE) for size in ("tiny", *RANDOM)},
    "memory-early": Case("10m", "tiny", prompts=8, phases=PEAK),
    "memory-late": Case("10m", "trained", prompts=8, phases=PEAK),
    "memory-uniform": Case("10m", "uniform", prompts=8, phases=PEAK),
}
SETS = {
    "growth": [name for name in CASES if name.split("-")[0] in ("group", "length", "size")],
    "memory": [name for name in CASES if name.startswith("memory")],
    "all": list(CASES),
}
SHORT = "early,late,uniform,uniform-sampled"


def chosen(text: str) -> list[str]:
    """Names of cases, those of memory last: what makes peaks honest slows down all that comes after."""
    names = [name for word in text.split(",") for name in SETS.get(word, [word])]
    if unknown := [name for name in names if name not in CASES]:
        raise argparse.ArgumentTypeError(f"no case {unknown[0]!r}; there are {', '.join([*CASES, *SETS])}")
    return sorted(dict.fromkeys(names), key=lambda name: CASES[name].phases == PEAK)


def settings(case: Case, trained: Path, folder: Path, steps: int) -> Settings:
    """Settings of both sides, with the models of the case in folders."""
    if "trained" in (case.model, case.completions) and not (trained / "model").exists():
        line = [sys.executable, "-m", "lenrl.cli", "train", "demo", f"output_dir={trained}"]
        print(f"training the demo's model once: {' '.join(line[1:])}", file=sys.stderr)
        subprocess.run(line, check=True, stdout=sys.stderr)
    places = {"tiny": "tiny", "trained": str(trained), "uniform": None, "sampled": None}
    model = places.get(case.model) or random_model(folder / case.model, *RANDOM[case.model])
    return Settings(
        model=model,
        sampler=places[case.completions],
        made_up=case.completions == "uniform",
        prompts=case.prompts,
        group=case.group,
        cap=case.cap,
        steps=steps,
        memory=case.phases == PEAK,
    )


def random_model(folder: Path, width: int, layers: int) -> str:
    """A folder with a model of the tiny one's architecture and tokenizer, larger and with random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from lenrl.generation.pretrained import TINY

    if not folder.exists():
        sizes = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers}
        heads = {"num_attention_heads": width // 64, "num_key_value_heads": width // 64, "head_dim": 64}
        config = AutoConfig.from_pretrained(TINY, layer_types=["full_attention"] * layers, **sizes, **heads)
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(TINY).save_pretrained(folder)
    return str(folder)


def measure(case: Case, of: Settings, rounds: int, folder: Path, *, profile: bool = False) -> dict:
    """Seconds a step (or MiB) of both sides by phase, ratios over the rounds, and facts of the batches.

    With `profile`, operators of one more turn of lenrl's go to standard output.
    """
    with Stock(of, folder / "trl") as stock, Lenrl(of, folder / "lenrl") as ours:
        for side in (stock, ours):  # starts workers, allocates
            side.turn()
        turns = []
        for number in range(rounds):
            order = (stock, ours) if number % 2 == 0 else (ours, stock)
            both = {side.name: side.turn() for side in order}
            turns.append((both["trl"], both["lenrl"]))
        found: dict = {"case": asdict(case), "rounds": rounds, "steps": of.steps, "phases": {}}
        for phase in case.phases:
            theirs, own = ([turn[i][phase] for turn in turns] for i in (0, 1))
            ratios = sorted(a / b for a, b in zip(theirs, own, strict=True) if b > 0)
            found["phases"][phase] = {
                "trl": statistics.median(theirs),
                "lenrl": statistics.median(own),
                "ratio": statistics.median(ratios) if ratios else None,
                "range": [ratios[0], ratios[-1]] if ratios else None,
            }
        found["useful_token_share"] = {side.name: side.useful_token_share for side in (stock, ours)}
        found["groups_with_signal"] = ours.groups_with_signal
        if case.completions != "sampled":  # the same rollouts on both sides
            norms = zip(stock.grad_norms, ours.grad_norms, strict=True)
            found["grad_norm_differs"] = max(abs(a - b) / max(abs(a), 1e-12) for a, b in norms)
        if profile:
            with torch.profiler.profile() as profiler:
                ours.turn()
            print(
                profiler.key_averages().table(
                    sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=45
                )
            )
    return found


def show(results: dict[str, dict], console: Console) -> None:
    table = Table("case", "", "TRL", "lenrl", "times", "useful tokens", "groups with signal", box=None)
    for name, found in results.items():
        for place, (phase, row) in enumerate(found["phases"].items()):
            ratio = (
                "" if row["ratio"] is None else "{:.2f} [{:.2f}, {:.2f}]".format(row["ratio"], *row["range"])
            )
            shares = found["useful_token_share"]
            batch = (f"{shares['trl']:.2f} → {shares['lenrl']:.2f}", f"{found['groups_with_signal']:.2f}")
            cells = (f"{row['trl']:.3g}", f"{row['lenrl']:.3g}", ratio, *(batch if place == 0 else ("", "")))
            table.add_row(name if place == 0 else "", phase, *cells)
    console.print(table)
    norms = [found["grad_norm_differs"] for found in results.values() if "grad_norm_differs" in found]
    if norms:
        console.print(
            f"gradient norms differ by {max(norms):.1e} at most where both sides have the same completions"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=chosen, default=chosen(SHORT), metavar="NAME,...", help=SHORT)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps a turn")
    parser.add_argument("--trained", type=Path, default=Path("outputs/demo"), help="the demo's run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every number")
    parser.add_argument(
        "--cpu-time", action="store_true", help="CPU seconds of this process, not the clock's"
    )
    parser.add_argument("--profile", action="store_true", help="operators of lenrl's steps, by time")
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="of lenrl's recipe")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore", FutureWarning)
    transformers_logging.disable_progress_bar()
    if options.cpu_time:
        time.perf_counter = time.process_time  # the clock of lenrl's metrics
    results: dict[str, dict] = {}
    console = Console(width=120)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    facts = {"TRL": trl.__version__, "torch": torch.__version__, "device": device}
    facts |= {"threads": torch.get_num_threads(), "seconds": "CPU" if options.cpu_time else "wall"}
    facts |= {"set": " ".join(options.set)} if options.set else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.cases:
            case = CASES[name]
            print(f"{name} ...", file=sys.stderr, flush=True)
            if case.phases == PEAK:
                peak_is_honest()
            of = settings(case, options.trained, Path(folder), options.steps)
            of = replace(of, own=tuple(options.set))
            results[name] = measure(case, of, options.rounds, Path(folder, name), profile=options.profile)
            if options.json:
                options.json.write_text(json.dumps({"facts": facts, "cases": results}, indent=1) + "\n")
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()))
    show(results, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
