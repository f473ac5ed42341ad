"""The seam with TRL: what it relies on, and that it changes nothing where it must not."""

import inspect

import pytest
from trl import GRPOTrainer

from lenrl.training.checkpointing import CheckpointedGRPO
from lenrl.training.trainer import OVERRIDES, USES, LenrlTrainer


def plain_signature(function) -> str:
    """Parameter names and defaults, without annotations."""
    signature = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


@pytest.mark.parametrize(("name", "expected"), sorted((OVERRIDES | USES).items()))
def test_trl_still_has_the_signature_we_rely_on(name, expected):
    assert plain_signature(getattr(GRPOTrainer, name)) == expected


def test_every_underscored_override_is_listed():
    base = {name for cls in GRPOTrainer.__mro__ for name in vars(cls)}
    own = {**vars(CheckpointedGRPO), **vars(LenrlTrainer)}
    ours = {name for name in own if name.startswith("_") and not name.startswith("__")}
    assert {name for name in ours if name in base and not name.startswith("_abc")} == set(OVERRIDES)


def test_no_other_module_touches_trl_underscored_names():
    from pathlib import Path

    import lenrl

    root = Path(lenrl.__file__).parent
    for path in root.rglob("*.py"):
        text = path.read_text()
        if path.name in ("trainer.py", "saving.py") or path.is_relative_to(root / "strategies"):
            continue
        assert "GRPOTrainer" not in text or path.name in {"__init__.py"}, path


def test_trl_attributes_we_touch_exist():
    source = inspect.getsource(GRPOTrainer)
    for name in (
        "self._step ",
        "self._buffered_inputs",
        "self._metrics",
        "self._tokenizer",
        "self.eos_token_ids",
    ):
        assert name in source, name
