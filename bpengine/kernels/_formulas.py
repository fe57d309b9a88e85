"""Names that the formulas of several kernels use, computed in another way than the kernels do, as a check on them.

Each function takes the namespace and the names known so far, and returns more names, in the precision of `names["real"]`.
"""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Names, Namespace


def loss_factor(xp: Namespace, names: Names) -> Names:
    """Return each value's factor in the reduced loss: its row's weight over all weights, for a mean also over the outputs."""
    return {"factor": _row_factor(xp, names, outputs=names["y"].shape[1])[:, None]}


def class_loss_names(xp: Namespace, names: Names) -> Names:
    """Return the targets as rows of probabilities, and each row's factor in the reduced loss."""
    return {**class_targets(xp, names), "factor": _row_factor(xp, names, outputs=1)}


def class_targets(xp: Namespace, names: Names) -> Names:
    """Return class numbers as one-hot rows; targets that are rows already stay as they are."""
    target, y = names["target"], names["y"]
    if target.ndim == 1:
        target = xp.astype(target[:, None] == xp.arange(y.shape[1]), names["real"])
    return {"target": target}


def _row_factor(xp: Namespace, names: Names, *, outputs: int) -> Array:
    y, weights, reduction = names["y"], names.get("weights"), names["reduction"]
    row_weights = xp.ones(len(y), dtype=names["real"]) if weights is None else weights
    if reduction == "sum":
        return row_weights
    total = xp.sum(row_weights) * (outputs if reduction == "mean" else 1)
    return row_weights / (total if total != 0 else 1)  # where all weights are 0: 0, not 0 / 0


def penalty_row_factor(xp: Namespace, names: Names) -> Names:
    """Return each row's factor in a penalty: its strength, 0 for a row of biases, over the sum of all weights."""
    w, weights, bias_row = names["w"], names.get("weights"), names["bias_row"]
    rows = len(w)
    skipped = {None: rows, "first": 0, "last": rows - 1}[bias_row]
    kept = xp.astype(names["strength"] * (xp.arange(rows) != skipped), names["real"])
    total = 1 if weights is None else xp.sum(weights)  # where it is 0, the factor is 0, not strength / 0
    return {"factor": xp.reshape(kept, (rows,) + (1,) * (w.ndim - 1)) * (1 / total if total != 0 else 0)}


def normalized(xp: Namespace, names: Names, mean: Array, variance: Array) -> Names:
    """Return a normalization's statistics and its normalized input."""
    inverse_std = 1 / xp.sqrt(variance + names["eps"])
    return {
        "mean": mean,
        "variance": variance,
        "inverse_std": inverse_std,
        "x_hat": (names["x"] - mean) * inverse_std,
    }
