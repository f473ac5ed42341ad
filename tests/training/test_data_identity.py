"""A trained run refuses other problems or answers, where it would have said that it is finished."""

import json
from dataclasses import replace

from lenrl import plugins
from lenrl.cli import main
from lenrl.config import compose
from lenrl.launch.run_folder import RunFolder
from lenrl.strategies.budgets.column import Column
from lenrl.strategies.functions import RewardFunction
from lenrl.tasks.base import digest
from lenrl.tasks.problem import Problem
from lenrl.training import data_identity
from lenrl.training.audited_data import audited
from lenrl.training.prepare import prepare
from lenrl.verify.pool import Verifier
from lenrl.verify.settings import PartsSettings, VerifierSettings


def test_a_finished_run_with_edited_answers_refuses_with_the_split(tmp_path, capsys):
    rows = [{"prompt": f"{i}+{i}", "answer": str(2 * i)} for i in range(40)]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    folder = tmp_path / "run"
    words = [f"task={data}", f"output_dir={folder}", "trainer.per_device_train_batch_size=16"]
    recipe = compose("grpo", words)
    checked_run = prepare(recipe)
    with Verifier(checked_run.verifier) as verifier:
        kept, _, _ = audited(checked_run, None, verifier, None)
    run = RunFolder(recipe)
    with run.locked():
        run.prepare()
    data_identity.write(folder, checked_run, kept)
    (folder / "model").mkdir()
    (folder / "training.json").write_text(json.dumps({"steps": 60}))
    (folder / "summary.json").write_text("{}")
    assert main(["train", "grpo", *words]) == 0
    assert "finished" in capsys.readouterr().err

    edited = kept["train"][0].prompt
    rows = [{**row, "answer": "7"} if row["prompt"] == edited else row for row in rows]
    data.write_text("\n".join(map(json.dumps, rows)))
    assert main(["train", "grpo", *words]) == 2
    said = capsys.readouterr().err
    count = len(kept["train"])
    assert f"- train: {count} problems" in said and f"+ train: {count} problems" in said
    assert "- test:" not in said
    assert main(["train", "grpo", *words, "resume_with_changes=true"]) == 0


def test_columns_that_a_run_reads_are_part_of_its_data(tmp_path):
    """Of the budget, of a reward function and of the verifier; a column that nobody reads is not."""
    plugin = tmp_path / "by_unit.py"
    plugin.write_text(
        "from lenrl.verify.base import VerifierPlugin\n\n\nclass ByUnit(VerifierPlugin):\n"
        "    name = 'by_unit_of_this_test'\n    reads_columns = ('unit',)\n\n"
        "    def judge(self, text, answer, gold, columns):\n        return True\n"
    )
    plugins.load(plugin)
    plain = prepare(compose("grpo"))
    budgeted = replace(plain, method=replace(plain.method, budget=Column(field="target")))
    wants = RewardFunction("wants", lambda completions, note="", **_: [0.0])
    paid = replace(plain, method=replace(plain.method, functions=(wants,)))
    unit = replace(plain, verifier=VerifierSettings.read({"kind": "by_unit_of_this_test"}))
    columns = {"target": 10, "note": "x", "unit": "m"}
    rows = [Problem("a", "1+1", "2", columns=columns), Problem("b", "2+2", "4", columns=columns)]

    def digests(run):
        others = ([rows[0], replace(rows[1], columns={**columns, name: "new"})] for name in columns)
        return [
            data_identity.data_digest(run, rows) != data_identity.data_digest(run, other) for other in others
        ]

    assert digests(plain) == [False, False, False]
    assert data_identity.data_digest(plain, rows) == digest(plain.task, rows)
    assert digests(budgeted) == [True, False, False]
    assert digests(paid) == [True, True, True], "a function that takes any keyword may read any column"
    assert digests(unit) == [False, False, True]
    mix = PartsSettings.of({"one": plain.verifier, "two": unit.verifier})
    assert digests(replace(plain, verifier=mix)) == [False, False, True]
