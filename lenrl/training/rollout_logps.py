"""Log-probs of a rollout's tokens, from each process's rows to the record of all; every function is collective."""

import torch
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies.groups import inside
from lenrl.training.distributed import ProcessGroup
from lenrl.training.trl_batch import TrlBatch, logp_gap, loss_mask, masked_mean


def with_mean_logp(rollouts: Rollouts, batch: TrlBatch, logp_NT: Tensor, group: ProcessGroup) -> Rollouts:
    """The record with each completion's mean over its tokens in the loss."""
    mean_N = group.gather_tensor(masked_mean(logp_NT, loss_mask(batch)))
    return rollouts.with_(mean_logp_PG=mean_N.reshape(rollouts.P, rollouts.G).cpu())


def carrying(rollouts: Rollouts, name: str, logp_NT: Tensor, group: ProcessGroup) -> Rollouts:
    """The record with log-probs of all processes' tokens under that name, NaN past the kept ones."""
    logp_NT = group.gather_padded(logp_NT.to(torch.float32), 0, left=False).cpu()
    logp_PGT = logp_NT[:, : int(rollouts.length_PG.max())].unflatten(0, (rollouts.P, rollouts.G))
    kept = inside(rollouts.length_PG, logp_PGT.shape[2])
    return rollouts.with_(carried={**rollouts.carried, name: logp_PGT.masked_fill(~kept, float("nan"))})


def sampler_gap(batch: TrlBatch, group: ProcessGroup) -> float | None:
    """Mean absolute difference of the tokens' log-probs by sampler and trainer, nats; None: one has none."""
    if not {"old_per_token_logps", "sampling_per_token_logps"} <= batch.keys():
        return None
    gap, tokens = group.sum(logp_gap(batch).to(group.device))
    return gap / tokens if tokens else None
