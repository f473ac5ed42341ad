"""A damaged checkpoint is passed over or refused, whatever is wrong with it; nothing in it is executed."""

import json
import os
import pickle
import shutil

import pytest
import torch

from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.run_process import run, starting_point
from lenrl.training import checkpoint
from lenrl.training.checkpoint import manifest
from tests.training.runs import SMALL

# Saved inside a rollout, so that every kind of file is there.
OPTIONS = [
    *SMALL,
    "task.train=8",
    "trainer.per_device_train_batch_size=4",
    "trainer.steps_per_generation=4",
    "trainer.max_steps=3",
    "trainer.save_steps=1",
    "trainer.save_total_limit=null",
]
CONFIG = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
]
TENSORS = [
    "model.safetensors",
    "optimizer.pt",
    "random-0.safetensors",
    "rollout-0.safetensors",
    "scheduler.pt",
]
FILES = sorted([*CONFIG, *TENSORS, "lenrl.json", "manifest.json", "trainer_state.json"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("run") / "a"
    return run(compose("palu", [*OPTIONS, f"output_dir={run_dir}"]))


@pytest.fixture
def copy(finished, tmp_path):
    run_dir = tmp_path / "a"
    run_dir.mkdir()
    for name in ("checkpoint-2", "checkpoint-3"):
        shutil.copytree(finished / name, run_dir / name)
    return run_dir


def test_the_list_of_files_is_complete(finished):
    assert sorted(p.name for p in (finished / "checkpoint-3").iterdir()) == FILES


def damaged(path, how):
    content = path.read_bytes()
    middle = len(content) // 2
    if how == "delete":
        path.unlink()
    elif how == "truncate":
        path.write_bytes(content[:middle])
    else:
        place = {"flip first": 0, "flip last": len(content) - 1}[how]
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


@pytest.mark.parametrize("how", ["delete", "truncate", "flip first", "flip last"])
@pytest.mark.parametrize("name", FILES)
def test_any_damage_to_any_file(copy, name, how, caplog):
    newest, former = copy / "checkpoint-3", copy / "checkpoint-2"
    damaged(newest / name, how)
    assert checkpoint.newest_good(copy) == former
    assert "passing over a damaged checkpoint" in caplog.text and name in caplog.text
    with pytest.raises(BadInput, match=r"Name a whole checkpoint"):
        checkpoint.chosen(copy, str(newest))
    shutil.rmtree(former)
    with pytest.raises(BadInput, match=r"none of the checkpoints .* is whole"):
        checkpoint.newest_good(copy)


def test_every_byte_of_the_manifest_counts(copy):
    path = copy / "checkpoint-3" / checkpoint.MANIFEST
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert checkpoint.faults(path.parent, checksums=False), place


@pytest.mark.parametrize(
    "name", ["optimizer.pt", "scheduler.pt", "random-0.safetensors", "rollout-0.safetensors"]
)
def test_what_transformers_would_do_without_is_required_even_by_an_agreeing_manifest(copy, name):
    folder = copy / "checkpoint-3"
    (folder / name).unlink()
    checkpoint.write_manifest(folder)
    assert checkpoint.faults(folder) == [f"{folder / name} is missing"]


@pytest.mark.parametrize(("part", "name"), [("strategies", "budget"), ("stateful", "clock")])
def test_a_state_that_is_not_there_is_not_begun_anew(copy, part, name):
    """Even where the manifest agrees: the run would go on as another one."""
    folder = copy / "checkpoint-3"
    state = checkpoint.read_state(folder)
    del state[part][name]
    checkpoint.write_state(folder, state)
    checkpoint.write_manifest(folder)
    with pytest.raises(BadInput, match=f"lacks the state of {name}: .* Name a whole checkpoint"):
        run(compose("palu", [*OPTIONS, f"output_dir={copy}", f"resume={folder}"]))


class Payload:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth"])
def test_a_pickle_with_a_payload_is_refused_unread(copy, tmp_path, name, form):
    """Even where the manifest agrees: whoever can plant the one can write the other."""
    canary = tmp_path / "canary"
    folder = copy / "checkpoint-3"
    if form == "torch":
        torch.save(Payload(canary), folder / name)
    else:
        (folder / name).write_bytes(pickle.dumps(Payload(canary)))
    checkpoint.write_manifest(folder)
    options = [*OPTIONS, f"output_dir={copy}", f"resume={folder}"]
    with pytest.raises(BadInput, match=f"{name} (is refused unread|does not belong here)"):
        run(compose("palu", options))
    assert not canary.exists()
    pickle.loads(pickle.dumps(Payload(canary)))
    assert canary.exists(), "a payload that cannot fire proves nothing"


def test_another_format_is_named(copy):
    path = copy / "checkpoint-3" / checkpoint.MANIFEST
    path.write_bytes(manifest._encoded({"format": 99, "files": json.loads(path.read_text())["files"]}))
    with pytest.raises(
        BadInput, match=f"has format 99, this version of lenrl reads format {checkpoint.FORMAT}"
    ):
        checkpoint.newest_good(copy)


def test_a_renamed_checkpoint_is_not_what_it_says(copy):
    (copy / "checkpoint-3").rename(copy / "checkpoint-9")
    assert checkpoint.faults(copy / "checkpoint-9") == [
        f"{copy / 'checkpoint-9'} was written as checkpoint-3"
    ]


def test_an_empty_folder_is_skipped_and_what_a_killed_save_left_is_removed(copy):
    (copy / "checkpoint-7").mkdir()
    shutil.copytree(copy / "checkpoint-3", copy / checkpoint.PARTIAL / "checkpoint-8")
    recipe = compose("palu", [*OPTIONS, f"output_dir={copy}"])
    assert starting_point(recipe, copy, 1) == copy / "checkpoint-3"
    assert not (copy / checkpoint.PARTIAL).exists()
    shutil.rmtree(copy / "checkpoint-3")
    shutil.rmtree(copy / "checkpoint-2")
    assert starting_point(recipe, copy, 1) is None


def test_a_run_goes_on_from_the_former_checkpoint_and_keeps_the_damaged_one_aside(finished, copy):
    damaged(copy / "checkpoint-3" / "optimizer.pt", "flip last")
    run(compose("palu", [*OPTIONS, f"output_dir={copy}"]))
    assert checkpoint.faults(copy / "checkpoint-3") == []
    assert checkpoint.faults(copy / checkpoint.SET_ASIDE / "checkpoint-3")
    weights = "model.safetensors"
    assert (copy / "model" / weights).read_bytes() == (finished / "model" / weights).read_bytes()
