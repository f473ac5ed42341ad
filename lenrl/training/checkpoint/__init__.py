"""Checkpoints: all that decides how a run goes on, written whole or not at all, verified before it is read.

A checkpoint is a folder `checkpoint-STEP`:

    model.safetensors | adapter_model.safetensors, config, tokenizer    the model
    optimizer.pt, scheduler.pt, (scaler.pt)          what torch must load, with `weights_only`
    trainer_state.json                               transformers' counters
    random-RANK.safetensors                          every process's random states
    rollout-RANK.safetensors                         completions still in use, inside a rollout
    lenrl.json                                       strategies' states, micro-step, recipe, ...
    manifest.json                                    format, sizes and checksums; written last

`manifest` says whether a folder is whole, `folders` which one a run goes on from, `atomic` writes one, `tensors`
and `weights` know what is inside.
"""

from lenrl.training.checkpoint.atomic import PARTIAL, atomic_folder, publish
from lenrl.training.checkpoint.folders import (
    SET_ASIDE,
    accept,
    chosen,
    clean,
    newest_good,
    rotate,
    set_aside_after,
    step_of,
)
from lenrl.training.checkpoint.manifest import (
    FORMAT,
    MANIFEST,
    STATE,
    faults,
    read_state,
    write_manifest,
    write_state,
)
from lenrl.training.checkpoint.weights import check_saved, weight_faults
