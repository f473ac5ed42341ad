"""`lenrl sweep`: many settings of a recipe, each as a run of its own."""

import argparse
from collections.abc import Sequence

from lenrl.cli.arguments import Parser
from lenrl.terminal import Terminal

EXAMPLES = (
    "lenrl sweep efficient reward.alpha=0.05,0.1,0.2 seed=0,1",
    "lenrl sweep drpo 'advantage.lam=range(0.05,0.3,0.05)' --jobs 2 --stop-hopeless",
    "lenrl sweep drpo 'advantage.lam=tag(log,interval(0.01,1))' objective.beta=0,0.001 --trials 20",
    "lenrl sweep efficient sweep=efficient_alpha name=alphas",
    "lenrl sweep efficient sweep=efficient_alpha name=alphas --collect",
)


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "sweep",
        "Train a recipe with several settings, each trial a launch and a folder of its own. The same command "
        "again continues: trials that crashed or were interrupted go on, finished ones stay. Settings in Hydra's "
        "grid grammar: key=a,b  key=choice(a,b)  key=range(0,1,0.25); with --trials also key=interval(0,1) and "
        "key=tag(log,interval(1e-5,1e-3)); sweep=NAME for a ready one. name=, output_dir=: of the sweep's folder, "
        "by default outputs/sweeps/RECIPE/HASH. There: ledger.jsonl, sweep.json, sweep.csv, a folder a trial.",
        EXAMPLES,
    )
    parser.recipe()
    parser.add_argument(
        "--trials",
        type=_count,
        metavar="N",
        help="search N trials with Optuna: accuracy up, tokens down",
    )
    parser.add_argument("--jobs", type=_count, default=1, metavar="J", help="trials side by side (default 1)")
    parser.add_argument(
        "--on-error",
        choices=("continue", "stop", "retry"),
        default="continue",
        help="after a crash: continue with the others (default), stop them all, or retry the trial once",
    )
    parser.add_argument(
        "--stop-hopeless",
        action="store_true",
        help="end a trial that in two evaluations in a row has under half of its first accuracy, or is\n"
        "dominated by a finished trial: 5 points less accurate and 10 %% longer at the same step",
    )
    parser.add_argument("--trial", type=int, metavar="I", help="only trial I, from 0: for job arrays")
    parser.add_argument(
        "--collect", action="store_true", help="run nothing, show the trials and their figures"
    )
    options = parser.read(arguments)

    from lenrl.sweeps.plan import Plan

    plan = Plan.read(options.recipe, options.overrides, options.plugin, options.trials)
    if options.collect:
        from lenrl.sweeps.outcomes import conclude

        conclude(plan, Terminal())
        return 0

    from lenrl.sweeps.scheduler import Sweep

    return Sweep(
        plan,
        jobs=options.jobs,
        on_error=options.on_error,
        stop_early=options.stop_hopeless,
        only=options.trial,
    ).run()


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return count
