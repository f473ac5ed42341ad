"""Who may use a run's folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.launch.command import check, command
from lenrl.launch.run_folder import RunFolder

HOLDER = """
import fcntl, sys, time
handle = open(sys.argv[1], "a+")
fcntl.flock(handle, fcntl.LOCK_EX)
handle.write("4711"); handle.flush()
print("held", flush=True)
time.sleep(60)
"""


def folder(tmp_path, *overrides):
    return RunFolder(compose("grpo", [f"output_dir={tmp_path / 'run'}", *overrides]))


def finish(run, steps):
    (run.path / "model").mkdir()
    (run.path / "training.json").write_text(json.dumps({"steps": steps}))


def test_a_second_launch_into_a_running_run_is_refused_with_its_process(tmp_path):
    run = folder(tmp_path)
    run.path.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, run.path / "lock"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        with pytest.raises(BadInput, match="4711"), run.locked():
            pass
    finally:
        holder.kill()
        holder.wait()
    with run.locked():
        pass


def test_the_lock_lives_as_long_as_an_inheritor(tmp_path):
    run = folder(tmp_path)
    with run.locked() as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=(lock,))
    try:
        with pytest.raises(BadInput, match="in use"), run.locked():
            pass
    finally:
        child.kill()
        child.wait()
    with run.locked():
        pass


def test_what_the_processes_read_is_written(tmp_path):
    run = folder(tmp_path, "launch=cpu2")
    with run.locked():
        run.admit()
        run.prepare()
    assert compose(str(run.path)).resolved() == run.recipe.resolved()
    assert yaml.safe_load((run.path / "accelerate.yaml").read_text()) == run.recipe.launch
    found = json.loads((run.path / "environment.json").read_text())
    assert found["world_size"] == 2 and found["versions"]["trl"].startswith("1.16")


def test_no_secret_of_the_environment_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "abc123secret")
    run = folder(tmp_path)
    with run.locked():
        run.prepare()
    assert not [f for f in run.path.iterdir() if "abc123secret" in f.read_text()]


def test_a_folder_of_another_recipe_is_refused_with_the_diff(tmp_path):
    run = folder(tmp_path)
    with run.locked():
        run.admit()
        run.prepare()
        run.admit()
        folder(tmp_path, "launch=single_gpu", "logging.report_to=wandb").admit()  # shape nothing
        with pytest.raises(BadInput) as fault:
            folder(tmp_path, "trainer.max_steps=61", "reward=kimi").admit()
        lines = str(fault.value).splitlines()
        assert "- trainer.max_steps: 60" in lines and "+ trainer.max_steps: 61" in lines
        assert '+ reward.name: "kimi"' in lines
        folder(tmp_path, "trainer.max_steps=61", "resume_with_changes=true").admit()


def test_resume_never_refuses_what_is_not_empty(tmp_path):
    run = folder(tmp_path, "resume=never")
    with run.locked():
        run.admit()
        run.prepare()
        with pytest.raises(BadInput, match="resume=never"):
            run.admit()


def test_a_folder_of_something_else_is_refused(tmp_path):
    run = folder(tmp_path)
    run.path.mkdir()
    (run.path / "thesis.tex").write_text("")
    with run.locked(), pytest.raises(BadInput, match="thesis.tex"):
        run.admit()


def test_what_a_kill_left_of_the_first_file_refuses_nothing(tmp_path):
    run = folder(tmp_path, "resume=never")
    run.path.mkdir()
    (run.path / "recipe.yaml.17.part").write_text("na")
    with run.locked():
        run.admit()
        assert [p.name for p in run.path.iterdir()] == ["lock"]


def test_a_folder_that_can_not_be_written_is_refused_with_its_path(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(BadInput, match=str(tmp_path / "run")), folder(tmp_path).locked():
        pass


def test_finished_means_all_steps_a_model_and_a_summary(tmp_path):
    run = folder(tmp_path)
    run.path.mkdir()
    assert not run.trained()
    finish(run, 60)
    assert run.trained() and not run.finished()
    (run.path / "summary.json").write_text("{}")
    assert run.finished()
    assert not folder(tmp_path, "trainer.max_steps=61").trained()


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        ({"num_processes": 1, "num_machines": 2}, "those of all machines"),
        ({"num_processes": 5, "num_machines": 2, "distributed_type": "MULTI_GPU"}, "num_processes=4 or 6"),
        ({"num_processes": 2, "num_machines": 2, "machine_rank": 2}, "from 0 to 1"),
        ({"machine_rank": "first"}, "machine_rank='first'"),
        ({"num_processes": 2, "distributed_type": "NO"}, "cpu2"),
        ({"num_processes": 2, "distributed_type": "MULTI_CPU"}, "cpu2"),
        ({"num_proceses": 2}, "num_processes"),
        ({"deepspeed_config": {"zero_stage": 3}}, "zero3_save_16bit_model must be true"),
        ({"fsdp_config": {"fsdp_state_dict_type": "SHARDED_STATE_DICT"}}, "FULL_STATE_DICT"),
    ],
)
def test_launches_that_would_silently_be_another_are_refused(launch, words):
    with pytest.raises(BadInput, match=words):
        check(launch)


def test_the_first_machine_speaks_for_all_that_share_the_folder(tmp_path):
    nodes = ["launch=multi_node", "launch.main_process_ip=a"]
    first, second = (folder(tmp_path, *nodes, f"launch.machine_rank={rank}") for rank in (0, 1))
    with second.locked(), first.locked():  # in any order
        second.admit()
        second.prepare()
        first.admit()
        first.prepare()
        files = [Path(word) for word in command(second.path, files=second.files) if word.endswith(".yaml")]
        ranks = [
            yaml.safe_load(path.read_text())["machine_rank"] for path in files if "accelerate" in path.name
        ]
        assert ranks == [1] and files[1].name == "recipe.yaml"
        assert yaml.safe_load((first.path / "accelerate.yaml").read_text())["machine_rank"] == 0
        second.withdraw()
        assert (first.path / "recipe.yaml").exists()
    assert not files[0].exists()


def test_a_run_goes_on_where_the_vllm_server_is_another_machine(tmp_path):
    one, other = (folder(tmp_path, f"trainer.vllm_server_host={host}") for host in ("a3", "b7"))
    assert one.recipe.digest() == other.recipe.digest() == folder(tmp_path).recipe.digest()
    with one.locked():
        one.prepare()
    with other.locked():
        other.admit()


def test_the_child_composes_the_same_run_from_a_folder_with_an_odd_name(tmp_path):
    odd = tmp_path / "it's, a [run]=1 $x, C:\\y"
    run = RunFolder(compose("grpo", [f'output_dir="{odd}"', "seed=5"]))
    with run.locked():
        run.prepare()
    line = command(run.path)
    start = line.index("--config-name")
    again = compose(line[start + 1], line[start + 2 :])
    assert again.run_dir() == odd and again.digest() == run.recipe.digest()


def test_the_users_number_of_threads_is_kept(tmp_path, monkeypatch):
    def threads(processes):
        line = command(tmp_path, local_processes=processes)
        return line[line.index("--num_cpu_threads_per_process") + 1]

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads(10_000) == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads(10_000) == "3"
