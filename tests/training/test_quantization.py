"""`model.peft.quantization` reaches transformers as it is written, and is refused where it can't work."""

import importlib.metadata
from pathlib import Path

import pytest
import torch

from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.training import peft
from lenrl.training.grpo_config import grpo_config
from lenrl.training.prepare import prepare
from tests.training.runs import small_run

QLORA = (
    "model.peft={r: 8, lora_alpha: 16, target_modules: all-linear, quantization: {load_in_4bit: true, "
    "bnb_4bit_quant_type: nf4, bnb_4bit_use_double_quant: true, bnb_4bit_compute_dtype: bfloat16}}"
)


def test_without_bitsandbytes_it_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(peft, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"model\.peft\.quantization needs bitsandbytes.*lenrl\[qlora\]"):
        prepare(compose("grpo", [QLORA]))


def test_every_option_reaches_transformers_and_peft_gets_the_rest(monkeypatch, tmp_path):
    monkeypatch.setattr(peft, "find_spec", lambda name: object())
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.46.0" if name == "bitsandbytes" else version(name)
    )
    recipe = compose("grpo", [QLORA])
    config = grpo_config(prepare(recipe), Path(tmp_path))
    given = config.model_init_kwargs["quantization_config"]
    assert given.load_in_4bit and given.bnb_4bit_quant_type == "nf4" and given.bnb_4bit_use_double_quant
    assert given.bnb_4bit_compute_dtype == torch.bfloat16
    lora = peft.peft_config(recipe.model.peft)
    assert (lora.r, lora.lora_alpha) == (8, 16)
    assert compose("grpo", ["model.peft={r: 8, lora_alpha: 16}"]).digest() != recipe.digest()
    plain = grpo_config(prepare(compose("grpo")), Path(tmp_path))
    assert "quantization_config" not in plain.model_init_kwargs


def test_an_adapter_in_bfloat16_is_continued_in_bfloat16(tmp_path):
    """As TRL trains it on a quantised base; peft alone would load it as float32."""
    lora = "model.peft={r: 2, target_modules: all-linear}"
    trainer, verifier = small_run("grpo", tmp_path, lora)
    verifier.close()
    adapter = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    for parameter in adapter.values():
        parameter.data = torch.randn_like(parameter).to(torch.bfloat16)
    before = {name: p.detach().clone() for name, p in adapter.items()}
    trainer.save_model(str(tmp_path / "saved"))
    for parameter in adapter.values():
        parameter.data.zero_()
    trainer._load_from_checkpoint(str(tmp_path / "saved"))
    for name, parameter in trainer.model.named_parameters():
        if name in before:
            assert parameter.dtype == torch.bfloat16 and torch.equal(parameter, before[name])
