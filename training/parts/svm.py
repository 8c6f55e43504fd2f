"""A scikit-learn support vector machine as a torch module, so that it can stand in a graph."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model_store.spec import Array


def learn(features: Array, labels: Array, groups: Array, regularization: float) -> Any:
    """A machine for each label, RBF kernel, with probabilities: Platt's sigmoids are fitted on
    scores of rows whose ``groups`` were left out. ``[N, D]``, ``[N]`` and ``[N]``.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import LeaveOneGroupOut
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    machine = SVC(C=regularization, gamma=1 / features.shape[1], class_weight="balanced")
    raw = make_pipeline(StandardScaler(), OneVsRestClassifier(machine))
    splits = list(LeaveOneGroupOut().split(features, labels, groups))
    calibrated = CalibratedClassifierCV(raw, method="sigmoid", cv=splits, ensemble=False)
    return calibrated.fit(features, labels)


class Svm(nn.Module):
    """What :func:`learn` made: features ``[B, D]`` → probabilities ``[B, K]``."""

    mean: Tensor
    spread: Tensor
    vectors: Tensor  # [S, D], the support vectors of all labels
    weights: Tensor  # [S, M]; of two labels, one machine decides
    offset: Tensor  # [M]
    slope: Tensor  # [M]
    intercept: Tensor  # [M]

    def __init__(self, learned: Any) -> None:
        super().__init__()
        [calibrated] = learned.calibrated_classifiers_
        scaler, machines = (step for _, step in calibrated.estimator.steps)
        vectors = np.concatenate([machine.support_vectors_ for machine in machines.estimators_])
        weights = np.zeros((len(vectors), len(machines.estimators_)))
        start = 0
        for place, machine in enumerate(machines.estimators_):
            stop = start + len(machine.support_vectors_)
            weights[start:stop, place] = machine.dual_coef_[0]
            start = stop
        vectors, rows = np.unique(vectors, axis=0, return_inverse=True)  # labels share them
        shared = np.zeros((len(vectors), weights.shape[1]))
        np.add.at(shared, rows, weights)
        self.gamma = float(machines.estimators_[0].gamma)
        for name, values in {
            "mean": scaler.mean_,
            "spread": scaler.scale_,
            "vectors": vectors,
            "weights": shared,
            "offset": [float(machine.intercept_[0]) for machine in machines.estimators_],
            "slope": [sigmoid.a_ for sigmoid in calibrated.calibrators],
            "intercept": [sigmoid.b_ for sigmoid in calibrated.calibrators],
        }.items():
            self.register_buffer(name, torch.tensor(np.asarray(values), dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        rows = (features - self.mean) / self.spread
        # |a - b|² by products: the table of differences would not fit the memory of a large batch.
        apart = rows.square().sum(1, keepdim=True) + self.vectors.square().sum(1)
        apart = (apart - 2 * rows @ self.vectors.T).clamp(min=0)  # [B, S]
        decision = (-self.gamma * apart).exp() @ self.weights + self.offset  # [B, M]
        sure = torch.sigmoid(-(self.slope * decision + self.intercept))
        if sure.shape[1] == 1:
            return torch.cat([1 - sure, sure], 1)
        return sure / sure.sum(1, keepdim=True).clamp(min=1e-12)
