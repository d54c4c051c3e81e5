"""Principal components compared with scikit-learn's."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from firstlight.explain.plane import neighbourhoods, plane, principal_components


@pytest.mark.parametrize(("images", "features"), [(40, 7), (20, 300)])
def test_components_are_those_of_scikit_learn(images: int, features: int) -> None:
    rng = np.random.default_rng(0)
    features_NF = (rng.normal(size=(images, 5)) @ rng.normal(size=(5, features))).astype(np.float32)
    features_NF += rng.normal(5, 0.1, (images, features)).astype(np.float32)
    reference = PCA(4, svd_solver="full")
    wanted_NC = reference.fit_transform(features_NF.astype(np.float64))

    found = principal_components(features_NF, 4)

    signs_C = np.sign((wanted_NC * found.places_NC).sum(axis=0))
    np.testing.assert_allclose(found.places_NC * signs_C, wanted_NC, atol=1e-6)
    np.testing.assert_allclose(found.shares_C, reference.explained_variance_ratio_, atol=1e-9)


def test_the_sign_of_a_direction_does_not_depend_on_the_order_of_the_images() -> None:
    features_NF = np.random.default_rng(0).normal(size=(30, 4))
    order = np.random.default_rng(1).permutation(30)
    found, other = plane(features_NF), plane(features_NF[order])
    np.testing.assert_allclose(other.places_NC, found.places_NC[order], atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (9, 1), (40, 1)])
def test_few_images_or_one_feature_have_places_too(shape: tuple[int, int]) -> None:
    features_NF = np.random.default_rng(0).normal(size=shape)
    found = plane(features_NF)
    assert found.places_NC.shape == neighbourhoods(features_NF).shape == (shape[0], 2)
    assert np.isfinite(found.places_NC).all() and np.isfinite(found.shares_C).all()


def test_equal_features_have_one_place() -> None:
    found = plane(np.ones((6, 3), np.float32))
    assert not found.places_NC.any() and not found.shares_C.any()
