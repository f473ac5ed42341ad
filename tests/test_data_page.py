"""docs/data.md: its files are written, its commands run, its tables name what there is."""

import re
import shlex
from pathlib import Path

import pytest

from lenrl.cli import main
from lenrl.config import OtherData
from lenrl.recipe_paths import group_choices
from lenrl.tasks import MixTask, TableTask
from lenrl.tasks.mix import Part

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
BLOCKS = dict(re.findall(r"```(python|bash)\n(.*?)```", PAGE, flags=re.DOTALL))
LINES = re.findall(r"^lenrl check .*$", PAGE, flags=re.MULTILINE)
SMALL = ["trainer.per_device_train_batch_size=16", "trainer.num_generations=4", "verifier.workers=1"]


@pytest.mark.parametrize("line", LINES, ids=["files", "mix", "evals"])
def test_a_command_of_the_page_runs(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS["python"], {})
    assert main([*shlex.split(line)[1:], *SMALL]) == 0
    out = capsys.readouterr().out
    assert "can be trained" in out and "as the model reads it" in out and "two backslashes" not in out


def test_the_tables_name_every_option_of_an_entry_and_options_that_there_are():
    rows = [row.split("|")[1] for row in PAGE.splitlines() if row.startswith("| `")]
    named = {name.removeprefix("task.") for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert set(OtherData.model_fields) <= named
    assert set(Part.model_fields) <= named
    assert named <= {
        *OtherData.model_fields,
        *Part.model_fields,
        *TableTask.model_fields,
        *MixTask.model_fields,
        *group_choices("task"),
    }
