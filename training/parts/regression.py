"""Values told from series beside the chemometrician's own tools: scores and a picture. No network.

``guess`` and ``truth`` are float ``[N]``.
"""

import numpy as np
from matplotlib.figure import Figure

from model_store.spec import Array
from training.data.tecator import Samples

RESAMPLES = 2000
MOST_COMPONENTS = 20
GAUSSIAN_COMPONENTS = 12
EXPLAINED = (
    f"The 95 % interval of the root mean squared error is from {RESAMPLES:,} bootstrap samples of"
    " the held-out ones. Partial least squares has as many components as ten-fold cross-validation"
    " on the learning part liked best, once for each treatment of the series; the Gaussian process"
    " has a length for each of the same principal components."
)


def scores(guess: Array, truth: Array, seed: int) -> dict[str, float]:
    """The headline first, then the ends of its interval."""
    missed = guess.astype(np.float64) - truth
    rows = np.random.default_rng(seed).integers(len(missed), size=(RESAMPLES, len(missed)))
    errors = np.sqrt(np.square(missed)[rows].mean(1))
    lower, upper = np.quantile(errors, [0.025, 0.975])
    varied = float(np.square(truth - truth.mean()).mean())
    squared = float(np.square(missed).mean())
    return {
        "rmse": float(np.sqrt(squared)),
        "rmse_lower": float(lower),
        "rmse_upper": float(upper),
        "mean_absolute_error": float(np.abs(missed).mean()),
        "r2": 1 - squared / varied if varied else 0.0,
    }


def classical(known: Samples, test: Samples) -> dict[str, Array]:
    """What the usual methods tell of ``test``, by name."""
    told = {
        f"pls_{name}": _pls(ours, known.targets, theirs)
        for (name, ours), theirs in zip(
            _treated(known.readings).items(), _treated(test.readings).values(), strict=True
        )
    }
    told["gaussian_process"] = _gaussian_process(known, test)
    told["mean_of_the_known"] = np.full(len(test), known.targets.mean())
    return told


def _treated(rows: Array) -> dict[str, Array]:
    return {
        "raw": rows.astype(np.float64),
        "snv": _snv(rows),
        "snv_first_derivative": np.diff(_snv(rows), axis=1),
        "second_derivative": np.diff(rows.astype(np.float64), 2, axis=1),
    }


def _snv(rows: Array) -> Array:
    """Each series centred and scaled by itself."""
    rows = rows - rows.mean(1, keepdims=True, dtype=np.float64)
    scaled: Array = rows / np.maximum(rows.std(1, keepdims=True), 1e-6)
    return scaled


def _pls(known: Array, targets: Array, test: Array) -> Array:
    from sklearn.cross_decomposition import PLSRegression
    from sklearn.model_selection import KFold, cross_val_score

    most = min(MOST_COMPONENTS, known.shape[1], int(0.8 * len(known)))
    folds = KFold(10, shuffle=True, random_state=0)
    quality = [
        cross_val_score(
            PLSRegression(size), known, targets, cv=folds, scoring="neg_mean_squared_error"
        ).mean()
        for size in range(1, most + 1)
    ]
    model = PLSRegression(1 + int(np.argmax(quality))).fit(known, targets)
    told: Array = np.ravel(model.predict(test))
    return told


def _gaussian_process(known: Samples, test: Samples) -> Array:
    import warnings

    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    size = min(GAUSSIAN_COMPONENTS, len(known), known.readings.shape[1])
    pca = PCA(size, whiten=True, random_state=0).fit(_snv(known.readings))
    lengths = RBF(np.full(size, 3.0), (0.1, 1e4))
    kernel = ConstantKernel(1.0, (1e-3, 1e4)) * lengths + WhiteKernel(1e-2, (1e-6, 1e1))
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        # A component that says nothing has a length at its bound, which is worth a warning.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(pca.transform(_snv(known.readings)), known.targets)
    told: Array = process.predict(pca.transform(_snv(test.readings)))
    return told


def scatter(guess: Array, truth: Array, name: str) -> Figure:
    """Told against true; on the line they are equal."""
    figure = Figure(figsize=(4.4, 4.2))
    axes = figure.subplots()
    ends = [float(min(guess.min(), truth.min())), float(max(guess.max(), truth.max()))]
    axes.plot(ends, ends, color="grey", linewidth=1)
    axes.plot(truth, guess, "o", markersize=4, alpha=0.7)
    axes.set(xlabel=f"true {name}", ylabel=f"told {name}")
    axes.grid(alpha=0.3)
    return figure
