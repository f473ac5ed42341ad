"""Logistic regression by ridge-penalised maximum likelihood, of many weightings of the same rows at once."""

import numpy as np

from lenrl.measures.arrays import Array

RIDGE = 0.01  # of all coefficients (C = 100 in scikit-learn's terms): finite where one side always wins
STEPS = 100  # of Newton's method; it takes about ten


def coefficients(weight_BN: Array, target_N: Array, design_NF: Array) -> Array:
    """(B, F) coefficients fitted to each of B weightings of N rows; targets are in [0, 1]."""
    found_BF = np.zeros((len(weight_BN), design_NF.shape[1]))
    ridge_FF = RIDGE * np.eye(design_NF.shape[1])
    for _ in range(STEPS):
        predicted_BN = 1 / (1 + np.exp(-found_BF @ design_NF.T))
        gradient_BF = (weight_BN * (target_N - predicted_BN)) @ design_NF - RIDGE * found_BF
        spread_BN = weight_BN * predicted_BN * (1 - predicted_BN)
        curvature_BFF = np.einsum("bn,ni,nj->bij", spread_BN, design_NF, design_NF, optimize=True) + ridge_FF
        step_BF = np.linalg.solve(curvature_BFF, gradient_BF[..., None])[..., 0]
        step_BF /= np.maximum(1, np.abs(step_BF).max(axis=1, keepdims=True))  # no overshoot when separable
        found_BF = found_BF + step_BF
        if np.abs(step_BF).max() < 1e-9:
            break
    return found_BF
