"""`lenrl train`: compose, check, launch, and measure before against after."""

import sys
from collections.abc import Sequence

from lenrl.cli.arguments import Parser
from lenrl.errors import BadInput

EXAMPLES = (
    "lenrl train demo",
    "lenrl train drpo advantage.lam=0.2 trainer.max_steps=100 name=mild",
    "lenrl train my.yaml reward=kimi reward.weight=0.5 launch=multi_gpu launch.num_processes=4",
    "lenrl train grpo reward=mine --plugin mine.py",
)


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "train",
        "Train a model as a recipe says. The run's folder is output_dir, by default outputs/RECIPE/NAME;\n"
        "the same command again continues a run that was stopped.",
        EXAMPLES,
    )
    parser.recipe()
    parser.multirun()
    options = parser.read(arguments)

    from lenrl.config import compose
    from lenrl.launch.command import check, command
    from lenrl.launch.run_folder import RunFolder
    from lenrl.launch.supervise import supervise
    from lenrl.launch.worker import REFUSED

    recipe = compose(options.recipe, options.overrides, options.plugin)
    check(recipe.launch)

    from lenrl.training.prepare import prepare, read_data

    checked_run = prepare(recipe)
    if recipe.hub.push:
        from lenrl.report import hub

        hub.check(recipe)
    folder = RunFolder(recipe)
    with folder.locked() as lock:
        folder.admit()
        if folder.trained() and folder.machine_rank == 0 and not recipe.resume_with_changes:
            from lenrl.training import data_identity

            data_identity.refuse_other(folder.path, checked_run)
        if folder.finished():
            _say(f"{folder.path} holds this run, finished; no step taken. See its report.html.")
            return _pushed(folder, recipe)
        if not folder.trained():
            try:
                read_data(checked_run)
            except BadInput:
                folder.withdraw()
                raise
            _say(f"lenrl: {recipe.recipe} in {folder.path}")
            folder.prepare()
            line = command(folder.path, (), folder.local_processes, folder.files)
            code = supervise(line, folder.local_processes, hold=[lock])
            if code == REFUSED:  # a rank has printed why
                folder.withdraw()
                return code
            if code:
                _say(_ending(code, folder))
                return code
        if folder.machine_rank == 0:
            from lenrl.report import summary

            summary.finish(folder.path, recipe)
            return _pushed(folder, recipe)
    return 0


def _pushed(folder, recipe) -> int:
    """To the hub, where the recipe says so; the exit code."""
    if not recipe.hub.push or folder.machine_rank != 0:
        return 0
    from lenrl.report import hub

    where = hub.push(folder.path, recipe.hub.repo, private=recipe.hub.private)
    if where is None:
        return 1
    _say(f"pushed: {where}")
    return 0


def _ending(code: int, folder) -> str:
    saved = sorted(folder.path.glob("checkpoint-*"), key=lambda p: p.stat().st_mtime)
    last = f"The last checkpoint is {saved[-1].name}. " if saved else "There is no checkpoint yet. "
    again = "The same command continues." if saved else "The same command begins anew."
    if code in (130, 143):
        return f"lenrl: stopped by a signal. {last}{again}"
    return f"lenrl: the run failed (exit code {code}); its message is above. {last}"


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
