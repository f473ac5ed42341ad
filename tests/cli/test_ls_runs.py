"""`lenrl ls runs`: what folders tell of runs, at once, whatever else lies in them."""

import fcntl
import json
import subprocess
import sys

import pytest
import yaml

from lenrl.cli import main, run_list

HOSTILE = [
    b"",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b"7",
    b"null",
    b'{"step": {"a": [1]}, "reward": "x", "tokens_mean": 1e999}\n',
]


def run(folder, recipe="drpo", steps=20, **files):
    """A run's folder with one line of metrics; further files as JSON."""
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(
        yaml.safe_dump({"recipe": recipe, "trainer": {"seed": 1, "max_steps": steps}}, sort_keys=False)
    )
    (folder / "environment.json").write_text("{}")
    line = {"step": 7, "reward": 0.51234, "tokens_mean": 88.04}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n" + '{"step": 8, "rew')
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def listed(folder, capsys):
    assert main(["ls", "runs", str(folder), "--json"]) == 0
    return {found["folder"]: found for found in json.loads(capsys.readouterr().out)}


def test_each_state_is_told(tmp_path, capsys):
    run(tmp_path / "drpo" / "a", summary={"status": "finished", "recipe": "drpo"}, training={"steps": 20})
    run(tmp_path / "b", training={"steps": 20})
    run(tmp_path / "c", ended={"exit_code": 143})
    run(tmp_path / "d", ended={"exit_code": 1})
    run(tmp_path / "e")  # killed
    held = run(tmp_path / "sweeps" / "s" / "trial-000")
    with open(held / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = listed(tmp_path, capsys)
    states = {name: one["state"] for name, one in found.items()}
    assert states == {
        "drpo/a": "finished", "b": "trained", "c": "interrupted", "d": "failed", "e": "interrupted",
        "sweeps/s/trial-000": "running",
    }  # fmt: skip
    assert {name: found["e"][name] for name in ("recipe", "step", "steps", "reward", "tokens")} == {
        "recipe": "drpo", "step": 7, "steps": 20, "reward": 0.51234, "tokens": 88.04,
    }  # fmt: skip
    assert listed(tmp_path, capsys)["sweeps/s/trial-000"]["state"] == "interrupted"


def test_the_table_has_a_line_a_run_in_eighty_columns(tmp_path, capsys):
    run(tmp_path / "length_penalty" / "3f5c5b3a", recipe="paper/drpo_r1_distill_qwen_1_5b_" * 2)
    run(tmp_path / "grpo" / "plain")
    assert main(["ls", "runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line]) == 3 and max(map(len, lines)) <= 100
    plain = next(line for line in lines if "grpo/plain" in line)
    assert plain.split() == ["drpo", "interrupted", "7/20", "0.512", "88.0", "0", "s", "grpo/plain"]


@pytest.mark.parametrize("content", HOSTILE)
@pytest.mark.parametrize("file", ["recipe.yaml", "metrics.jsonl", "summary.json", "ended.json", "lock"])
def test_hostile_folders_are_listed_without_a_traceback(tmp_path, capsys, file, content):
    folder = run(tmp_path / "a\x1b[31m\n<b>")
    (folder / file).write_bytes(content)
    (tmp_path / "loop").symlink_to(tmp_path)
    (folder / "training.json").mkdir()
    assert main(["ls", "runs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and len([line for line in shown.splitlines() if line]) == 2
    assert len(listed(tmp_path, capsys)) == 1


def test_no_folder_is_refused_and_an_empty_one_has_no_runs(tmp_path, capsys):
    assert main(["ls", "runs", str(tmp_path / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert main(["ls", "runs", str(tmp_path)]) == 0 and "no runs" in capsys.readouterr().out


def test_nothing_heavy_is_imported_and_many_runs_are_listed(tmp_path):
    for number in range(200):
        run(tmp_path / f"r{number}")
    assert len(run_list.runs(tmp_path)) == 200
    code = "import sys; from lenrl.cli import run_list; sys.exit('torch' in sys.modules or 'yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
