"""`lenrl edit`: the algebra of an edit, the directions it goes by, one from end to end, and what it refuses."""

import json
import shutil
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, Olmo2Config, Qwen3Config

from lenrl.cli import edit as verb
from lenrl.cli import main
from lenrl.errors import BadInput, validated
from lenrl.evaluation import head_edit
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.head_edit import EditSettings, directions, edit, edit_heads
from lenrl.evaluation.settings import EvalSettings
from lenrl.generation.controls import read
from lenrl.generation.controls.steer import DIRECTIONS
from lenrl.generation.pretrained import TINY, ModelOptions
from lenrl.generation.transformers_engine import load, weights_hash

SMALL: dict[str, Any] = {"vocab_size": 40, "hidden_size": 24, "intermediate_size": 16, "num_hidden_layers": 2}
H, K = 3, 16  # heads, and their width, which is not 24 / 3
LONG, SHORT = (7, [3, 5, 8, 2, 9, 4, 11, 6, 7]), (3, [3, 5, 2, 6, 1])


@pytest.fixture
def small():
    """A random model."""
    torch.manual_seed(0)
    config = Qwen3Config(**SMALL, num_attention_heads=H, num_key_value_heads=1, head_dim=K)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """An evaluation of the embedded model: 16 prompts, 6 samples."""
    folder = tmp_path_factory.mktemp("probe")
    settings = EvalSettings(split="train", samples=6, max_new_tokens=160, verifier={"kind": "exact"})
    evaluate(["tiny"], {"name": "chain", "train": 16}, settings, out_dir=folder)
    return folder


@pytest.fixture(scope="module")
def edited(probe, tmp_path_factory):
    """What `lenrl edit` writes."""
    folder = tmp_path_factory.mktemp("edited") / "model"
    edit("tiny", probe, folder, EditSettings(examples=10))
    return folder


def heads_of(model, layer=0):
    """Columns of each head, (H, D, K)."""
    return (
        model.model.layers[layer].self_attn.o_proj.weight.detach().clone().unflatten(1, (H, K)).movedim(1, 0)
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_an_edit_takes_its_share_of_one_head_along_the_direction_and_nothing_else(small, gamma):
    v_LD = torch.randn(2, 24)
    u_D = v_LD[0] / v_LD[0].norm()
    before, digest = heads_of(small), weights_hash(small)
    edit_heads(small, v_LD, [(0, 1)], gamma)
    after = heads_of(small)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert (weights_hash(small) == digest) == (gamma == 0)
    torch.testing.assert_close(u_D @ after[1], (1 - gamma) * (u_D @ before[1]), atol=1e-6, rtol=1e-5)
    across = torch.eye(24) - torch.outer(u_D, u_D)  # what is not along u stays
    torch.testing.assert_close(across @ after[1], across @ before[1], atol=1e-6, rtol=1e-5)
    assert torch.linalg.matrix_rank(after[1] - before[1], atol=1e-5) == (gamma > 0)
    edit_heads(small, v_LD, [(0, 1)], gamma)
    once_more = (heads_of(small) - after).abs().max()
    assert once_more < 1e-6 if gamma in (0, 1) else once_more > 1e-3


def test_directions_are_those_of_the_stream_between_attention_and_mlp(small):
    inputs, outputs, means = [], [], []
    for layer in small.model.layers:
        layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        layer.self_attn.register_forward_hook(lambda *given: outputs.append(given[-1][0]))
    for tokens, ids in (LONG, SHORT):
        inputs.clear()
        outputs.clear()
        with torch.no_grad():
            small(torch.tensor([ids]))
        means.append([(x + y)[0, -tokens:].mean(0) for x, y in zip(inputs, outputs, strict=True)])
    written_LD = torch.stack([y[0, -SHORT[0] :].mean(0) for y in outputs])
    v_LD, cosine_L, contribution_LH = directions(small, [(LONG, SHORT)] * 2)
    expected = torch.stack(means[0]) - torch.stack(means[1])
    torch.testing.assert_close(v_LD, expected)
    torch.testing.assert_close(cosine_L, torch.ones(2))
    along_L = (written_LD * torch.nn.functional.normalize(expected, dim=-1)).sum(-1)
    torch.testing.assert_close(contribution_LH.sum(-1), -along_L)


def test_halves_that_disagree_have_a_negative_cosine(small):
    assert (directions(small, [(LONG, SHORT), (SHORT, LONG)])[1] < -0.99).all()


def test_the_verb_writes_a_model_that_differs_in_the_heads_that_it_names(probe, tmp_path, capsys):
    out = tmp_path / "edited"
    assert main(["edit", "tiny", str(probe), "--out", str(out), "heads=2"]) == 0
    done = json.loads((out / "edit.json").read_text())
    printed = capsys.readouterr()
    assert printed.out == f"{out}: 2 of 6 heads edited\n"
    flat = torch.tensor(done["contributions"]).flatten()
    assert [2 * layer + head for layer, head in done["edited"]] == flat.argsort(descending=True)[:2].tolist()
    assert done["tokens"][0] > done["tokens"][1] and len(done["norms"]) == len(done["cosines"]) == 3
    base, edited = load("tiny"), load(str(out))
    assert done["weights"] == weights_hash(base.model) != weights_hash(edited.model)
    theirs = dict(edited.model.named_parameters())
    changed = {
        name for name, values in base.model.named_parameters() if not torch.equal(values, theirs[name])
    }
    assert changed == {f"model.layers.{layer}.self_attn.o_proj.weight" for layer, _ in done["edited"]}
    assert edited.info.eos_ids == base.info.eos_ids and (out / "generation_config.json").is_file()
    with pytest.raises(BadInput, match=f"no samples of these weights, {weights_hash(edited.model)}"):
        edit(str(out), probe, tmp_path / "again", EditSettings())


def test_a_model_is_saved_in_the_precision_that_it_had(probe, tmp_path):
    folder = shutil.copytree(TINY, tmp_path / "half")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    edit(str(folder), probe, tmp_path / "out", EditSettings())
    assert load(str(tmp_path / "out"), ModelOptions(dtype="auto")).model.dtype == torch.bfloat16


def test_every_option_does_something(probe, tmp_path):
    def done(**options) -> dict[str, Any]:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        return edit("tiny", probe, out, validated(EditSettings, options)) | {
            "hash": weights_hash(load(str(out)).model)
        }

    plain, all_of_them = done(), done(heads=1.0)
    assert len(plain["edited"]) == 1 and len(all_of_them["edited"]) == 6, "4 % of 6 heads are one"
    assert done(toward="shorter")["edited"] == all_of_them["edited"][-1:]
    assert done(gamma=0.5)["hash"] != plain["hash"]
    assert (done(examples=10)["pairs"], plain["pairs"] > 10) == (10, True)
    apart = done(compare="all", long=70, short=60)
    assert apart["tokens"][0] > 70 and apart["tokens"][1] < 60 and apart["pairs"] != plain["pairs"]
    assert set(verb.OPTIONS) == EditSettings.model_fields.keys(), "help names each"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 7}, "heads=7: 'tiny' has 6"),
        ({"heads": 1.5}, "heads=1.5"),
        ({"gamma": 0}, "gamma=0"),
        ({"short": 20}, "nothing without compare=all"),
        ({"compare": "all"}, "have 0 pairs for compare=all, an edit needs 10"),
        ({"dtype": "bfloat16"}, "with the dtype and on the device"),
    ],
)
def test_what_can_not_be_edited_so_is_refused(probe, tmp_path, options, words):
    with pytest.raises(BadInput, match=words):
        edit("tiny", probe, tmp_path / "out", validated(EditSettings, options))
    assert not list(tmp_path.iterdir())


def test_noise_is_refused_and_a_folder_that_is_there(probe, tmp_path, monkeypatch):
    own = head_edit.directions
    monkeypatch.setattr(
        head_edit,
        "directions",
        lambda model, pairs: own(model, [*pairs[:9], *(pair[::-1] for pair in pairs[:9])]),
    )
    with pytest.raises(BadInput, match=r"cosine -1.00, below 0.5: noise"):
        edit("tiny", probe, tmp_path / "out", EditSettings())
    with pytest.raises(BadInput, match="exists; name another"):
        edit("tiny", probe, probe, EditSettings())


@pytest.mark.parametrize(
    ("column", "change", "words"),
    [
        ("ids", lambda ids: [token for token in ids if token != 262], "0 finished thinkings, from <think>"),
        ("rendered", lambda text: text + "1", "other tokens for this tokenizer"),
    ],
)
def test_an_evaluation_without_thinking_or_of_other_tokens_is_refused(probe, tmp_path, column, change, words):
    folder = shutil.copytree(probe, tmp_path / "probe")
    table = pq.read_table(folder / "completions-0-sampled.parquet")
    place = table.column_names.index(column)
    changed = pa.array(map(change, table[column].to_pylist()), table.schema.field(column).type)
    pq.write_table(table.set_column(place, column, changed), folder / "completions-0-sampled.parquet")
    with pytest.raises(BadInput, match=words):
        edit("tiny", folder, tmp_path / "out", EditSettings())


def test_other_architectures_and_adapters_are_refused(small):
    """Olmo2's second norm reads the attention's output, not the stream."""
    sizes = {**SMALL, "num_attention_heads": 2}
    others = [
        AutoModelForCausalLM.from_config(GPT2Config(n_embd=24, n_layer=1, n_head=2, vocab_size=40)),
        AutoModelForCausalLM.from_config(Olmo2Config(**sizes, num_key_value_heads=2)),
        get_peft_model(small, LoraConfig(target_modules=["o_proj"])),
    ]
    for model in others:
        with pytest.raises(
            BadInput, match=f"{type(model).__name__} can't be edited.*but input_layernorm.*lenrl merge"
        ):
            directions(model, [(LONG, SHORT)] * 2)


def test_steering_adds_to_what_attention_writes_and_only_then(edited):
    """As a bias of `o_proj` would."""
    engine, biased, ids = load("tiny"), load("tiny").model, torch.tensor([[5, 6, 7, 8]])
    v_LD = load_file(edited / DIRECTIONS)["v_LD"]
    for layer, v_D in zip(biased.model.layers, v_LD, strict=True):
        layer.self_attn.o_proj.bias = torch.nn.Parameter(-0.5 * v_D)
    (control,) = read(["steer@-0.5"], {"steer": edited})
    with torch.no_grad():
        before = engine.model(ids).logits
        with control.inside(engine):
            steered = engine.model(ids).logits
        torch.testing.assert_close(steered, biased(ids).logits)
        assert (steered - before).abs().max() > 0.1
        assert torch.equal(engine.model(ids).logits, before)


def test_a_steered_evaluation_differs_but_for_a_dial_of_nothing(edited, tmp_path):
    settings = EvalSettings(
        controls=("steer@0", "steer@-1"), control={"steer": str(edited)}, max_new_tokens=60, logps=True,
        verifier={"kind": "exact", "workers": 1},
    )  # fmt: skip
    entries = evaluate(["tiny"], {"name": "chain", "test": 6}, settings, out_dir=tmp_path)["models"]
    none, nothing, steered = (pq.read_table(tmp_path / entry["completions"]).to_pylist() for entry in entries)
    assert [{**row, "forced": 0} for row in none] == nothing, "bit for bit, log-probs too"
    assert "logp_mean" in none[0]
    assert all(row["logp_mean"] != free["logp_mean"] for row, free in zip(steered, none, strict=True))
    assert any(row["ids"] != free["ids"] for row, free in zip(steered, none, strict=True))
    assert len(entries[2]["fingerprint"]["control"]["steer"]) == 12, "of the directions, wherever they are"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: folder / "nowhere", "no directions"),
        (lambda folder: TINY, "no directions"),
        (
            lambda folder: _written(folder, {"v_LD": torch.ones(3, 5)}),
            r"directions \[3, 5\] of .*has \[3, ",
        ),
        (lambda folder: _written(folder, {"v": torch.ones(3, 5)}), "no directions"),
        (lambda folder: _written(folder, {"v_LD": torch.ones(3, 5)}, None), "no directions"),
    ],
)
def test_directions_that_are_not_of_the_model_are_refused(edited, tmp_path, change, words):
    folder = change(shutil.copytree(edited, tmp_path / "copy"))
    with pytest.raises(BadInput, match=words):
        read(["steer@1"], {"steer": folder})[0].check(SimpleNamespace(), 100, load("tiny"))


def _written(folder, tensors, metadata=(("weights", "aa"),)):
    save_file(tensors, folder / DIRECTIONS, metadata and dict(metadata))
    return folder


def test_a_model_of_other_weights_and_a_server_are_not_steered(edited, tmp_path):
    settings = EvalSettings(controls=("steer@1",), control={"steer": str(edited)})
    with pytest.raises(BadInput, match=f"{weights_hash(load('tiny').model)}; .*lenrl edit this one"):
        evaluate([str(edited)], {"name": "chain", "test": 2}, settings, out_dir=tmp_path)
    assert not list(tmp_path.glob("completions*"))
    (control,) = read(["steer@1"], {"steer": edited})
    with pytest.raises(BadInput, match="engine=transformers"):
        control.check(SimpleNamespace(), 100, SimpleNamespace(name="server"))
