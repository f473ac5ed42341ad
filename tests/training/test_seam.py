"""The seam with TRL: what it relies on, that nothing else reaches past it, and that no new field slips in unseen."""

import ast
import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from trl import GRPOConfig, GRPOTrainer

import lenrl
from lenrl.strategies.loss_fields import LOSS_FIELDS
from lenrl.training.checkpointing import CheckpointedGRPO
from lenrl.training.logp_passes import LogpPasses
from lenrl.training.trainer import OVERRIDES, READS, USES, SlottedGRPO
from lenrl.training.trl_fields import OWNED

ROOT = Path(lenrl.__file__).parent
SEAM = ("training/trainer.py", "training/logp_passes.py", "training/checkpointing.py")
THEIRS = """
trl.trainer.grpo_trainer trl.trainer.base_trainer trl.trainer.utils trl.models.utils transformers.trainer
transformers.trainer_callback transformers.training_args transformers.generation.utils
transformers.modeling_utils transformers.tokenization_utils_base
"""

# Fields of GRPOConfig that a recipe sets under `trainer`, and TRL or transformers reads.
PASSED = """
activation_checkpointing activation_checkpointing_kwargs adam_beta1 adam_beta2
adam_epsilon auto_find_batch_size average_tokens_across_devices batch_eval_metrics bf16 bf16_full_eval
cache_implementation cast_lm_head_to_fp32 dataloader_drop_last dataloader_in_order
dataloader_multiprocessing_context dataloader_persistent_workers dataloader_pin_memory
dataloader_prefetch_factor ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb ddp_find_unused_parameters
ddp_static_graph ddp_timeout debug disable_dropout disable_tqdm
ds3_gather_for_generation eval_accumulation_steps eval_delay eval_do_concat_batches
eval_steps eval_use_gather_object fp16 fp16_full_eval full_determinism
generation_batch_size gradient_accumulation_steps gradient_checkpointing gradient_checkpointing_kwargs greater_is_better
hub_private_repo hub_token include_for_metrics
include_num_input_tokens_seen label_names learning_rate
liger_kernel_config load_best_model_at_end local_rank log_level log_level_replica
log_multimodal log_on_each_node logging_first_step lr_scheduler_kwargs lr_scheduler_type
mask_truncated_completions max_completion_length max_grad_norm max_steps max_tool_calling_iterations
metric_for_best_model min_p neftune_noise_alpha num_generations num_iterations
optim optim_args optim_target_modules pad_to_multiple_of
per_device_train_batch_size repetition_penalty save_steps save_strategy
save_total_limit shuffle_dataset skip_memory_metrics steps_per_generation temperature tf32 top_k top_p
torch_compile torch_compile_backend torch_compile_mode torch_empty_cache_steps trackio_bucket_id
trackio_space_id trackio_static_space_id transformers_continuous_batching_config
use_cache use_liger_kernel use_transformers_continuous_batching use_vllm vllm_enable_sleep_mode
vllm_gpu_memory_utilization vllm_group_port vllm_max_model_length vllm_mode vllm_model_impl
vllm_server_base_url vllm_server_host vllm_server_port vllm_server_timeout vllm_structured_outputs_regex
vllm_tensor_parallel_size warmup_steps weight_decay
"""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_attributes(tree: ast.AST) -> Iterator[ast.Attribute]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_private(node.attr))


def defined(tree: ast.AST) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds) and is_private(node.name)}


def their_names() -> set[str]:
    """Underscored names that TRL and transformers define or set, as far as a trainer meets them."""
    trees = [ast.parse(inspect.getsource(importlib.import_module(name))) for name in THEIRS.split()]
    attributes = {node.attr for tree in trees for node in private_attributes(tree)}
    return attributes.union(*map(defined, trees))


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
    own = {**vars(CheckpointedGRPO), **vars(LogpPasses), **vars(SlottedGRPO)}
    ours = {name for name in own if is_private(name)}
    assert {name for name in ours if name in base and not name.startswith("_abc")} == set(OVERRIDES)


def test_every_underscored_name_that_the_seam_touches_is_listed():
    trees = [ast.parse((ROOT / path).read_text("utf-8")) for path in SEAM]
    theirs = their_names()
    touched = {node.attr for tree in trees for node in private_attributes(tree) if node.attr in theirs}
    overridden = set(OVERRIDES)
    assert touched - overridden == set(USES) | set(READS)
    assert overridden <= set().union(*map(defined, trees))


def test_no_other_module_touches_an_underscored_name_of_trl_or_transformers():
    theirs = their_names()
    assert {"_step", "_metrics", "_save_checkpoint", "_sample", "_prepare_cache_for_generation"} <= theirs
    faults = []
    for path in sorted(ROOT.rglob("*.py")):
        if path.relative_to(ROOT).as_posix() in SEAM:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        own = defined(tree) | {
            node.attr for node in private_attributes(tree) if ast.unparse(node.value) in ("self", "cls")
        }
        touched = {node.attr for node in private_attributes(tree)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
                "trl",
                "transformers",
            ):
                touched |= {alias.name for alias in node.names if is_private(alias.name)}
        faults += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(touched & theirs - own)]
    assert not faults


def test_trl_attributes_we_read_exist():
    source = inspect.getsource(GRPOTrainer)
    for name in (*READS, "eos_token_ids", "loss_type"):
        assert f"self.{name} " in source or f"self.{name}:" in source, name


def test_every_field_of_trl_s_configuration_is_owned_or_a_loss_field_or_passed_on():
    """A new version's new fields want a decision each; see docs/trl.md."""
    fields = {field.name for field in dataclasses.fields(GRPOConfig)}
    passed = set(PASSED.split())
    assert fields - set(OWNED) - set(LOSS_FIELDS) - passed == set(), "new in TRL: decide"
    assert (set(OWNED) | set(LOSS_FIELDS) | passed) - fields == set(), "no longer in TRL"
    assert not passed & (set(OWNED) | set(LOSS_FIELDS)), "passed on, and yet not"
