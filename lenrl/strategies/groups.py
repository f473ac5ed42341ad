"""Statistics over the group axis, in float64, of the valid rows only.

Every function takes values `x_PG` and a mask `valid_PG` (bool) and returns a column (P, 1) that broadcasts
against (P, G), unless it says otherwise. A group with too few valid rows gives 0 for spreads and NaN for
locations.
"""

import torch
from torch import Tensor

INF = float("inf")
NAN = float("nan")


def count(valid_PG: Tensor) -> Tensor:
    """Valid rows of each group, float64."""
    return valid_PG.sum(dim=1, keepdim=True, dtype=torch.float64)


def total(x_PG: Tensor, valid_PG: Tensor) -> Tensor:
    """Sum over the valid rows; 0 if there are none."""
    return torch.where(valid_PG, x_PG, 0.0).sum(dim=1, keepdim=True, dtype=torch.float64)


def mean(x_PG: Tensor, valid_PG: Tensor) -> Tensor:
    """Mean over the valid rows; NaN if there are none."""
    return total(x_PG, valid_PG) / count(valid_PG)


def _deviation(x_PG: Tensor, valid_PG: Tensor, lost: int) -> Tensor:
    squares = total((x_PG - mean(x_PG, valid_PG)).square(), valid_PG)
    return (squares / (count(valid_PG) - lost).clamp(min=1.0)).sqrt()


def sd(x_PG: Tensor, valid_PG: Tensor) -> Tensor:
    """Sample standard deviation (n - 1); 0 below two valid rows."""
    return _deviation(x_PG, valid_PG, lost=1)


def psd(x_PG: Tensor, valid_PG: Tensor) -> Tensor:
    """Population standard deviation (n); 0 without valid rows."""
    return _deviation(x_PG, valid_PG, lost=0)


def average(x: Tensor, where: Tensor) -> float | None:
    """Mean of some entries of a whole batch, for the logs; None if there are none."""
    return x[where].double().mean().item() if where.any() else None


def lowest(x_PG: Tensor, valid_PG: Tensor) -> Tensor:
    """Smallest valid value; +inf if there are none."""
    return torch.where(valid_PG, x_PG, INF).amin(dim=1, keepdim=True)


def highest(x_PG: Tensor, valid_PG: Tensor) -> Tensor:
    """Largest valid value; -inf if there are none."""
    return torch.where(valid_PG, x_PG, -INF).amax(dim=1, keepdim=True)


def spread(x_PG: Tensor, valid_PG: Tensor) -> Tensor:
    """bool (P, 1): two valid rows differ. Exact, where a standard deviation has rounding noise."""
    return highest(x_PG, valid_PG) > lowest(x_PG, valid_PG)


def quantile(x_PG: Tensor, valid_PG: Tensor, q: float) -> Tensor:
    """Quantile with linear interpolation; NaN without valid rows."""
    return torch.nanquantile(torch.where(valid_PG, x_PG, NAN), q, dim=1, keepdim=True)


def ranks(x_PG: Tensor, valid_PG: Tensor) -> Tensor:
    """int64 (P, G): 0 for the smallest valid value, ties in batch order, rows that are not valid last."""
    order = torch.argsort(torch.where(valid_PG, x_PG, INF), dim=1, stable=True)
    places = torch.arange(x_PG.shape[1], device=x_PG.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def inside(length_PG: Tensor, tokens: int) -> Tensor:
    """bool (P, G, T): the places of the kept tokens, of `tokens` places."""
    return torch.arange(tokens, device=length_PG.device) < length_PG[..., None]


def token_mean(x: Tensor, length_PG: Tensor) -> Tensor:
    """(P, G): values (P, G) as they are, values a token (P, G, T) averaged over the kept tokens; 0 without any."""
    if x.dim() == 2:
        return x
    return torch.where(inside(length_PG, x.shape[2]), x, 0.0).sum(dim=2) / length_PG.clamp(min=1)


def z_scores(x_PG: Tensor, valid_PG: Tensor, *, population: bool, eps: float) -> Tensor:
    """(P, G): `(x - mean) / (deviation + eps)` by the statistics of the valid rows."""
    deviation = (psd if population else sd)(x_PG, valid_PG)
    return (x_PG - mean(x_PG, valid_PG)) / (deviation + eps)


def token_whitened(x_PG: Tensor, tokens_PG: Tensor, valid_PG: Tensor, *, population: bool) -> Tensor:
    """(P, G): `(x - m) / sqrt(v + 1e-8)`, m and v over all tokens of the batch's valid rows; 0 elsewhere.

    A row's value counts as often as it has tokens; v is divided by their number (`population`) or one less. Below
    two tokens: 0.
    """
    weight_PG = torch.where(valid_PG, tokens_PG.to(torch.float64), 0.0)
    n = weight_PG.sum()
    if n < 2:
        return torch.zeros_like(x_PG)
    centred = torch.where(valid_PG, x_PG, 0.0)
    centred = centred - (weight_PG * centred).sum() / n
    variance = (weight_PG * centred.square()).sum() / (n if population else n - 1)
    return torch.where(valid_PG, centred / (variance + 1e-8).sqrt(), 0.0)


def softmax(x_PG: Tensor, valid_PG: Tensor) -> Tensor:
    """(P, G): softmax over the valid rows, 0 elsewhere and in groups without any."""
    scores = torch.where(valid_PG, x_PG, -INF)
    weights = torch.log_softmax(scores, dim=1).exp()
    return torch.where(valid_PG, weights, 0.0)
