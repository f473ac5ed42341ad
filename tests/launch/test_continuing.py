"""What the parent refuses or keeps before a launch, where a folder holds a run already."""

import json

import pytest
import yaml

from lenrl.cli import main
from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.launch.run_folder import RunFolder
from lenrl.training import checkpoint


def folder(tmp_path, *overrides):
    return RunFolder(compose("grpo", [f"output_dir={tmp_path / 'run'}", *overrides]))


def whole(run, step, processes=1):
    """A checkpoint with the files that are looked at before a launch."""
    path = run.path / f"checkpoint-{step}"
    path.mkdir(parents=True)
    state = {"step": step, "processes": processes, "recipe": run.recipe.identity(), "rollout": False}
    checkpoint.write_state(path, {**state, "backend": "fsdp"})
    for name in ("trainer_state.json", *(f"random-{rank}.safetensors" for rank in range(processes))):
        (path / name).write_text("")
    checkpoint.write_manifest(path)
    return path


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{run}/checkpoint-9", "checkpoint-9 does not exist"),
        ("{run}/model", "its name must be checkpoint-STEP"),
        ("{run}/checkpoint-8", "manifest.json is missing"),
    ],
)
def test_a_bad_path_is_refused_before_a_launch(tmp_path, path, message, capsys, monkeypatch):
    monkeypatch.setattr("lenrl.launch.supervise.supervise", lambda *_, **__: pytest.fail("launched"))
    run = folder(tmp_path)
    (run.path / "checkpoint-8").mkdir(parents=True)
    options = [f"output_dir={run.path}", f"resume={path.format(run=run.path)}"]
    assert main(["train", "grpo", *options]) == 2
    assert message in capsys.readouterr().err


def test_another_number_of_processes_and_another_recipe_are_refused_before_a_launch(tmp_path):
    start = whole(folder(tmp_path), 3, processes=2)
    with pytest.raises(BadInput, match=r"written by 2 processes, this launch has 1.*launch.num_processes=2"):
        folder(tmp_path, f"resume={start}").admit()
    start = whole(folder(tmp_path), 4)
    with pytest.raises(BadInput, match=r"\+ seed: 1"):
        folder(tmp_path, f"resume={start}", "seed=1").admit()


def test_a_damaged_path_is_refused(tmp_path):
    start = whole(folder(tmp_path), 3)
    (start / "trainer_state.json").write_text("{}")
    with pytest.raises(BadInput, match=r"trainer_state.json has 2 bytes, the manifest says 0"):
        folder(tmp_path, f"resume={start}").admit()


def test_a_finished_run_is_taken_up_again_from_an_older_checkpoint_only(tmp_path):
    run = folder(tmp_path)
    older, last = whole(run, 40), whole(run, 60)
    (run.path / "model").mkdir()
    (run.path / "training.json").write_text(json.dumps({"steps": 60}))
    assert folder(tmp_path, f"resume={last}").trained()
    assert not folder(tmp_path, f"resume={older}").trained()


def test_the_former_recipes_stay(tmp_path):
    for seed in (0, 0, 1, 1, 2):
        run = folder(tmp_path, f"seed={seed}", "resume_with_changes=true")
        with run.locked():
            run.admit()
            run.prepare()
    seeds = {p.name: yaml.safe_load(p.read_text())["seed"] for p in run.path.glob("recipe*.yaml")}
    assert seeds == {"recipe-1.yaml": 0, "recipe-2.yaml": 1, "recipe.yaml": 2}
