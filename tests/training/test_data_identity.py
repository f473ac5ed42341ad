"""A trained run refuses other problems or answers, where it would have said that it is finished."""

import json

from lenrl.cli import main
from lenrl.config import compose
from lenrl.launch.run_folder import RunFolder
from lenrl.training import data_identity
from lenrl.training.audited_data import audited
from lenrl.training.prepare import prepare
from lenrl.verify.pool import Verifier


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
    data_identity.write(folder, checked_run.task, kept)
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
