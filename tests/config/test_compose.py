"""Recipes by name and by path, overrides, and what is refused."""

from itertools import product
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from lenrl.config import RECIPES, Recipe, compose, quoted, recipe_files
from lenrl.config import pins as pins_module
from lenrl.config.overrides import parse
from lenrl.errors import BadInput


def refused(recipe: str, *overrides: str) -> str:
    with pytest.raises(BadInput) as fault:
        compose(recipe, overrides)
    return str(fault.value)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", sorted(recipe_files()))
def test_every_shipped_recipe_composes_and_begins_with_what_it_is(name):
    recipe = compose(name)
    assert recipe.recipe == name
    assert recipe_files()[name].read_text().startswith("# ")


def test_every_launch_file_is_a_choice():
    for path in (RECIPES / "launch").glob("*.yaml"):
        ip = ["launch.main_process_ip=10.0.0.1"] if path.stem == "multi_node" else []
        launch = compose("grpo", [f"launch={path.stem}", *ip]).launch
        assert launch == {
            **yaml.safe_load(path.read_text()),
            **({"main_process_ip": "10.0.0.1"} if ip else {}),
        }


def test_a_quoted_text_is_read_as_it_was():
    for parts in product(("a", "\\", '"', "'", ", ", "=[}"), repeat=4):
        text = "".join(parts)
        assert parse([f"name={quoted(text)}"])[0].value == text


def test_values_are_plain_and_of_their_own_types():
    recipe = compose("grpo", ["trainer.learning_rate=1e-4", "trainer.max_steps=7", "model.peft={r: 4}"])
    assert recipe.trainer["learning_rate"] == 1e-4 and type(recipe.trainer["max_steps"]) is int
    assert type(recipe.trainer) is dict and type(recipe.model.peft) is dict and type(recipe.launch) is dict


def test_a_trainer_field_that_no_file_spells_out_can_be_set():
    assert compose("grpo", ["trainer.epsilon_high=0.3"]).trainer["epsilon_high"] == 0.3
    assert compose("grpo", ["+trainer.epsilon_high=0.3"]).trainer["epsilon_high"] == 0.3


def test_a_key_can_be_removed():
    assert "warmup_steps" not in compose("grpo", ["~trainer.warmup_steps"]).trainer
    assert "no key 'trainer.nope'" in refused("grpo", "~trainer.nope")


@pytest.mark.parametrize("line", ["~trainer.warmup_steps=3", "~reward.weight=3", "~launch=cpu2"])
def test_a_key_is_removed_with_its_value_or_not_at_all(line):
    key = line[1:].split("=")[0]
    assert f"{key} is " in refused("kimi", line) and f"Write ~{key}" in refused("kimi", line)
    steps = compose("kimi").trainer["warmup_steps"]
    assert "warmup_steps" not in compose("kimi", [f"~trainer.warmup_steps={steps}"]).trainer


def test_a_model_as_a_mapping_sets_what_it_names():
    mapped = compose("grpo", ["model={path: org/model, dtype: bfloat16}"])
    assert mapped.identity() == compose("grpo", ["model.path=org/model", "model.dtype=bfloat16"]).identity()
    assert compose("grpo", ["model={trust_remote_code: true}"]).model.trust_remote_code


def test_data_of_any_name_can_be_evaluated_on(tmp_path):
    entries = compose("grpo", [f"evals=['{tmp_path}/données (1).jsonl','{tmp_path}/v1.5 test.jsonl']"]).evals
    assert [entry.name for entry in entries] == ["donn_es__1_", "v1_5_test"]


def test_interpolations_are_resolved():
    recipe = compose("grpo", ["trainer.save_steps=${trainer.max_steps}", "trainer.max_steps=12"])
    assert recipe.trainer["save_steps"] == 12


def test_a_group_choice_replaces_the_section_whatever_a_recipe_set_in_it(tmp_path):
    mine = write(
        tmp_path / "mine.yaml", "defaults: [grpo, _self_]\nlaunch: {num_processes: 4, debug: true}\n"
    )
    assert compose(mine).launch["num_processes"] == 4
    assert compose(mine, ["launch=cpu"]).launch == yaml.safe_load((RECIPES / "launch/cpu.yaml").read_text())
    assert compose(mine, ["launch.num_processes=3", "launch=cpu2"]).launch["num_processes"] == 3


def test_a_data_file_is_a_task():
    assert compose("grpo", ["task=rows.jsonl"]).task == {"name": "table", "path": "rows.jsonl"}


def test_a_users_recipe_composes_from_any_directory(tmp_path, monkeypatch):
    folder = tmp_path / "a folder, of (mine)"
    folder.mkdir()
    mine = write(folder / "my recipe.v2.yml", "defaults: [drpo, _self_]\ntrainer: {max_steps: 3}\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    recipe = compose(mine)
    assert (recipe.advantage.name, recipe.trainer["max_steps"], recipe.recipe) == ("drpo", 3, "my recipe.v2")


def test_a_file_of_ones_own_beside_the_recipe_is_a_group_choice(tmp_path):
    (tmp_path / "model").mkdir()
    write(tmp_path / "model" / "mine.yaml", "path: some/model\n")
    mine = write(tmp_path / "mine.yaml", "defaults: [base, override model: mine, _self_]\n")
    assert compose(mine).model.path == "some/model"
    assert compose(mine, ["model=tiny"]).model.path == "tiny"
    assert compose(mine, ["model=tiny", "model=mine"]).model.path == "some/model"


def test_a_shipped_name_means_the_shipped_recipe_also_inside_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "drpo.yaml", "defaults: [drpo, _self_]\ntrainer: {max_steps: 3}\n")
    assert compose("drpo.yaml").trainer["max_steps"] == 3
    assert compose("drpo").trainer["max_steps"] != 3


def test_a_resolved_recipe_is_a_recipe_and_gives_the_same_run(tmp_path):
    recipe = compose("palu", ["budget.tau=0.2", "seed=3", "launch=cpu2"])
    copy = write(tmp_path / "recipe.yaml", yaml.safe_dump(recipe.resolved(), sort_keys=False))
    again = compose(copy)
    assert again.resolved() == recipe.resolved()
    assert again.run_dir() == recipe.run_dir()
    assert compose(str(tmp_path)).digest() == recipe.digest()  # the run's folder will do
    changed = compose(copy, ["reward=kimi", "launch=cpu", "task=chain"])
    assert (changed.reward.name, changed.launch["num_processes"]) == ("kimi", 1)


@pytest.mark.parametrize(
    ("override", "key", "remedy"),
    [
        ("tariner.max_steps=3", "tariner", "Did you mean trainer?"),
        ("guard.nonfinit=drop", "guard.nonfinit='drop'", "guard.nonfinite"),
        ("model.dtpye=bfloat16", "model.dtpye='bfloat16'", "model.dtype"),
        ("logging.every=0", "logging.every=0", "greater than or equal to 1"),
        ("name=a/b", "name='a/b'", "output_dir"),
        ("seed=-1", "seed=-1", "greater"),
        ("guard.truncated_share=nan", "guard.truncated_share=nan", "finite"),
        ("task=chian", "task='chian'", "Did you mean task=chain"),
        ("model=some/model", "model='some/model'", "model.path=some/model"),
        ("reward=os.system", "os.system", "never a path"),
        ("reward=kimy", "kimy", "Did you mean reward=kimi?"),
        ("reward.wieght=1", "reward.wieght", "correctness"),
        ("trainer.max_steps=???", "trainer.max_steps", "must give"),
        ("trainer.max_steps=${trainer.nope}", "trainer.max_steps", "trainer.nope"),
        ("output_dir=${oc.env:HOME}", "output_dir", "resolver 'oc.env'"),
        ("name=${now:%S}", "name", "resolver 'now'"),
        ("trainer.max_steps=1,2", "trainer.max_steps=1,2", "lenrl sweep"),
        ("trainer.max_steps=range(1,3)", "range(1,3)", "lenrl sweep"),
        ("--multirun", "--multirun", "lenrl sweep"),
        ("hydra.mode=MULTIRUN", "hydra.mode", "lenrl sweep"),
        ("trainer.x=(1", "trainer.x=(1", "quote"),
        ("trainer.max_steps", "trainer.max_steps", "key=value"),
        ("~reward", "~reward", "neutral"),
        ("trainer=3", "trainer=3", "dictionary"),
        ("trainer.hub_token=abc123", "trainer.hub_token", "HF_TOKEN"),
        ("model.path=https://me:abc123@host/x", "model.path", "HF_TOKEN"),
    ],
)
def test_bad_overrides_are_refused_with_key_and_remedy(override, key, remedy):
    message = refused("grpo", override)
    assert key in message and remedy in message
    assert "abc123" not in message
    assert "Traceback" not in message and len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nseed: 2\n", "duplicate key seed"),
        ("defaults: [base, _self_]\ntrainer: {max_steps: [\n", "line"),
        ("- a\n- b\n", "mapping"),
        ("recipe: mine\nseed: 1\n", "defaults: [base, _self_]"),
        ("defaults: [base, _self_]\nlearning_rate: 0.1\n", "Did you mean trainer.learning_rate?"),
        ("defaults: [nothing_of_the_kind, _self_]\n", "nothing_of_the_kind"),
        ("defaults: [base, _self_]\nreward: 3\n", "reward=3"),
        ("defaults: [base, _self_]\nhydra: {run: {dir: x}}\n", "hydra"),
        ("defaults: [base, _self_]\ntraner: {}\n", "trainer"),
        ("defaults: [base, _self_]\ntrainer: {_target_: os.system}\nfoo: 1\n", "foo=1"),
        ("", "missing"),
    ],
)
def test_bad_files_are_refused_readably(tmp_path, text, words):
    message = refused(write(tmp_path / "mine.yaml", text))
    assert words in message and "Traceback" not in message


def test_a_recipe_that_leads_back_to_itself_is_refused(tmp_path):
    write(tmp_path / "one.yaml", "defaults: [two, _self_]\n")
    write(tmp_path / "two.yaml", "defaults: [one, _self_]\n")
    assert "circle" in refused(str(tmp_path / "one.yaml"))


def test_every_fault_of_the_sections_is_named_at_once():
    message = refused("grpo", "guard.nonfinite=maybe", "seed=-1", "foo=1")
    assert all(key in message for key in ("guard.nonfinite", "seed=-1", "foo=1"))


def test_an_unknown_recipe_names_the_nearest():
    assert "'drpo'" in refused("dprro")
    assert "no such file" in refused("nowhere/mine.yaml")


def test_a_wrong_antlr_is_refused_with_the_pin(monkeypatch):
    right = pins_module.metadata.version
    wrong = {"antlr4-python3-runtime": "4.13.2"}
    monkeypatch.setattr(pins_module.metadata, "version", lambda name: wrong.get(name) or right(name))
    message = refused("grpo")
    assert "4.13.2" in message and "antlr4-python3-runtime==4.9.3" in message


def test_the_digest_follows_what_shapes_the_result_and_nothing_else():
    digest = compose("grpo").digest()
    for other in ("launch=single_gpu", "name=x", "logging.report_to=wandb", "output_dir=x", "resume=never"):
        assert compose("grpo", [other]).digest() == digest, other
    for other in ("seed=1", "trainer.max_steps=3", "reward=kimi", "task.test=9", "guard.nonfinite=drop"):
        assert compose("grpo", [other]).digest() != digest, other


def test_an_option_spelled_out_with_its_default_is_the_same_run():
    assert compose("kimi", ["reward.weight=1.0"]).digest() == compose("kimi").digest()


def test_the_run_folder():
    recipe = compose("grpo")
    assert recipe.run_dir() == Path("outputs/grpo") / recipe.digest()
    assert compose("grpo", ["name=1"]).run_dir() == Path("outputs/grpo/1")
    assert compose("grpo", ["output_dir=x/y", "name=a"]).run_dir() == Path("x/y")


def test_nothing_of_hydra_is_left_behind():
    from hydra.core.global_hydra import GlobalHydra

    assert isinstance(compose("grpo"), Recipe)
    assert not GlobalHydra.instance().is_initialized()


def test_the_run_of_a_script_is_continued_by_the_script(tmp_path):
    plain = compose("grpo").resolved()
    described = {**plain, "task": {"name": "rows", "train": None}, "functions": {"mine": {"weight": 1.0}}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(described))
    with pytest.raises(BadInput, match=r"run of a Python script.*resume_from_checkpoint=True"):
        compose(str(tmp_path))


def test_a_file_without_a_defaults_list_begins_with_base(tmp_path):
    mine = write(tmp_path / "mine.yaml", "reward: kimi\ntrainer: {max_steps: 3}\n")
    recipe = compose(mine)
    assert (recipe.reward.name, recipe.trainer["max_steps"], recipe.guard.nonfinite) == ("kimi", 3, "fail")


@pytest.mark.parametrize(("written", "steps"), [("1e3", 1000), ("2E+2", 200), ("5", 5)])
def test_whole_numbers_may_have_an_exponent(written, steps):
    value = compose("grpo", [f"trainer.max_steps={written}"]).trainer["max_steps"]
    assert (value, type(value)) == (steps, int)
    assert compose("kimi", ["reward.weight=1e0"]).reward.weight == 1.0  # type: ignore[attr-defined]


def test_every_file_is_read_once(monkeypatch):
    read, load = [], OmegaConf.load
    monkeypatch.setattr(OmegaConf, "load", lambda file: read.append(str(file)) or load(file))
    compose("paper/drpo_r1_distill_qwen_1_5b")
    assert len(read) > 6 and len(set(read)) == len(read)
