"""Features of images in two dimensions.

Axes: N images, F features, C principal components.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

_COMPONENTS, _PERPLEXITY, _FEW = 50, 30.0, 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Components:
    """Principal components (Pearson 1901)."""

    places_NC: Float64Array
    """The images along the C directions of largest variance, the largest first."""
    shares_C: Float64Array
    """The share of the whole variance in each direction."""


def principal_components(features_NF: npt.NDArray[np.floating], count: int) -> Components:
    """Return the first ``count`` components, fewer if there are no more images or features.

    The sign of a direction is arbitrary: here its largest weight is positive.
    """
    centred_NF = features_NF.astype(np.float64)
    centred_NF -= centred_NF.mean(axis=0)
    images, features = centred_NF.shape
    wide = features > images
    products = centred_NF @ centred_NF.T if wide else centred_NF.T @ centred_NF
    squares, vectors = np.linalg.eigh(products)
    squares_C = squares[::-1][:count].clip(0)
    directions = vectors[:, ::-1][:, :count]
    whole = float(squares.clip(0).sum())
    if wide:
        places_NC = directions * np.sqrt(squares_C)
        weights_FC = centred_NF.T @ directions
    else:
        places_NC, weights_FC = centred_NF @ directions, directions
    largest_C = np.take_along_axis(weights_FC, np.abs(weights_FC).argmax(axis=0)[None], axis=0)[0]
    return Components(
        places_NC=places_NC * np.where(largest_C < 0, -1.0, 1.0),
        shares_C=squares_C / whole if whole > 0 else np.zeros(len(squares_C)),
    )


def plane(features_NF: npt.NDArray[np.floating]) -> Components:
    """Return two components; one that does not exist is zero."""
    found = principal_components(features_NF, 2)
    absent = 2 - len(found.shares_C)
    return Components(
        places_NC=np.pad(found.places_NC, ((0, 0), (0, absent))),
        shares_C=np.pad(found.shares_C, (0, absent)),
    )


def neighbourhoods(features_NF: npt.NDArray[np.floating]) -> Float64Array:
    """Return float64 N×2: the first 50 principal components, reduced to two dimensions by t-SNE
    (van der Maaten and Hinton 2008). Equal features give equal positions.

    Needs scikit-learn.
    """
    from sklearn.manifold import TSNE

    count = len(features_NF)
    if count < _FEW:
        return plane(features_NF).places_NC
    main_NC = principal_components(features_NF, _COMPONENTS).places_NC
    perplexity = min(_PERPLEXITY, (count - 1) / 3)
    start = "pca" if main_NC.shape[1] > 1 else "random"
    found: Float64Array = TSNE(2, perplexity=perplexity, init=start, random_state=0).fit_transform(
        main_NC
    )
    return found.astype(np.float64)
