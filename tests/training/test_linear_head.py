"""The linear head agrees with scikit-learn, and chooses its penalty on held-out images."""

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.multiclass import OneVsRestClassifier

from firstlight.training.linear_head import NEVER, FittedHead, LinearHead, fit_head

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]


def clouds(
    images: int, features: int, classes: int, apart: float = 0.5, seed: int = 0
) -> tuple[Float32Array, Int64Array]:
    """Return overlapping clusters, with features of very different scales and positions."""
    rng = np.random.default_rng(seed)
    labels_N = np.arange(images) % classes
    centres_KF = apart * rng.standard_normal((classes, features))
    features_NF = rng.standard_normal((images, features)) + centres_KF[labels_N]
    features_NF = features_NF * rng.uniform(1, 100, features) + rng.uniform(-9, 9, features)
    return features_NF.astype(np.float32), labels_N


def names(classes: int) -> list[str]:
    return [f"class {k}" for k in range(classes)]


def answers(head: LinearHead, features_NF: Float32Array) -> npt.NDArray[np.float64]:
    scores_NK = head.scores(features_NF).astype(np.float64)
    shares_NK = np.exp(scores_NK - scores_NK.max(axis=1, keepdims=True))
    result: npt.NDArray[np.float64] = shares_NK / shares_NK.sum(axis=1, keepdims=True)
    return result


def by_scikit_learn(
    features_NF: Float32Array,
    labels_N: Int64Array,
    penalty: float,
    rows: npt.NDArray[np.bool_] | None = None,
    weights_N: Float32Array | None = None,
) -> npt.NDArray[np.float64]:
    """Return probabilities of all images from a regression fitted to some of them."""
    exact_NF = features_NF.astype(np.float64)
    exact_NF = (exact_NF - exact_NF.mean(axis=0)) / exact_NF.std(axis=0)
    rows = np.ones(len(labels_N), bool) if rows is None else rows
    counts_N = np.ones(len(labels_N)) if weights_N is None else weights_N.astype(np.float64)
    counts_N = counts_N[rows]
    # For two classes it has one row of weights instead of two opposite ones.
    twice = 2 if len(np.unique(labels_N)) == 2 else 1
    strength = twice / (penalty * float(counts_N.sum()))
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=20_000)
    model.fit(exact_NF[rows], labels_N[rows], sample_weight=counts_N)
    result: npt.NDArray[np.float64] = model.predict_proba(exact_NF)
    return result


@pytest.mark.parametrize(
    ("images", "features", "classes"), [(300, 40, 3), (60, 200, 4), (200, 30, 2), (80, 80, 5)]
)
def test_the_head_answers_as_scikit_learn_does(images: int, features: int, classes: int) -> None:
    features_NF, labels_N = clouds(images, features, classes)
    fitted = fit_head(features_NF, labels_N, names(classes), np.arange(images) // classes % 5)
    wanted_NK = by_scikit_learn(features_NF, labels_N, fitted.penalty)
    np.testing.assert_allclose(answers(fitted.head, features_NF), wanted_NK, atol=1e-4)


def several(images: int, features: int) -> tuple[Float32Array, npt.NDArray[np.bool_]]:
    """Return features, and labels that depend on them: some often together, one rare."""
    features_NF, _ = clouds(images, features, 4)
    exact_NF = (features_NF - features_NF.mean(axis=0)) / features_NF.std(axis=0)
    rng = np.random.default_rng(1)
    scores_NK = exact_NF @ rng.standard_normal((features, 3)) * 0.4 + [0.0, 0.3, -2.5]
    return features_NF, rng.random(scores_NK.shape) < 1 / (1 + np.exp(-scores_NK))


def of_each_label(
    features_NF: Float32Array,
    labels_NK: npt.NDArray[np.bool_],
    penalty: float,
    rows: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Return the probabilities of scikit-learn's regressions of one label each."""
    exact_NF = features_NF.astype(np.float64)
    exact_NF = (exact_NF - exact_NF.mean(axis=0)) / exact_NF.std(axis=0)
    strength = 1 / (penalty * float(rows.sum()))
    model = OneVsRestClassifier(LogisticRegression(C=strength, tol=1e-10, max_iter=20_000))
    model.fit(exact_NF[rows], labels_NK[rows].astype(int))
    result: npt.NDArray[np.float64] = model.predict_proba(exact_NF)
    return result


@pytest.mark.parametrize(("images", "features"), [(300, 20), (60, 90)])
def test_several_labels_are_as_many_regressions(images: int, features: int) -> None:
    features_NF, labels_NK = several(images, features)
    fold_N = np.arange(images) % 4
    fitted = fit_head(features_NF, labels_NK, names(3), fold_N)
    whole_N = np.ones(images, bool)
    wanted_NK = of_each_label(features_NF, labels_NK, fitted.penalty, whole_N)
    found_NK = expit(fitted.head.scores(features_NF).astype(np.float64))
    np.testing.assert_allclose(found_NK, wanted_NK, atol=1e-4)
    told_NK, losses = expit(fitted.held_out_NK.astype(np.float64)), dict(fitted.losses)
    loss = 0.0
    for fold in range(4):
        out_N = fold_N == fold
        wanted_NK = of_each_label(features_NF, labels_NK, fitted.penalty, ~out_N)
        np.testing.assert_allclose(told_NK[out_N], wanted_NK[out_N], atol=0.02)
        loss += sum(
            log_loss(labels_NK[out_N, k], wanted_NK[out_N, k], normalize=False, labels=[0, 1])
            for k in range(3)
        )
    assert losses[fitted.penalty] == pytest.approx(loss / images, abs=0.01)
    assert losses[fitted.penalty] == min(losses.values())


def test_a_label_that_all_images_have_or_none_keeps_its_share() -> None:
    features_NF, labels_NK = several(100, 10)
    labels_NK[:, 1], labels_NK[:, 2] = True, False
    fitted = fit_head(features_NF, labels_NK, names(3), np.arange(100) % 5)
    shares_NK = expit(fitted.head.scores(features_NF).astype(np.float64))
    # As if half an image of the 80 of each fit were of the other kind.
    np.testing.assert_allclose(shares_NK[:, 1], 1 - 0.5 / 80, atol=1e-6)
    np.testing.assert_allclose(shares_NK[:, 2], 0.5 / 80, atol=1e-6)
    assert fitted.notes == () and np.isfinite(fitted.held_out_NK).all()


def test_what_a_fold_is_told_is_what_the_other_folds_teach() -> None:
    features_NF, labels_N = clouds(240, 30, 3)
    fold_N = np.arange(240) // 3 % 4
    fitted = fit_head(features_NF, labels_N, names(3), fold_N)
    loss = 0.0
    for fold in range(4):
        out_N = fold_N == fold
        wanted_NK = by_scikit_learn(features_NF, labels_N, fitted.penalty, ~out_N)
        np.testing.assert_allclose(fitted.probabilities()[out_N], wanted_NK[out_N], atol=0.005)
        np.testing.assert_allclose(
            answers(fitted.fold_heads[fold], features_NF), wanted_NK, atol=0.005
        )
        loss -= float(np.log(wanted_NK[out_N, labels_N[out_N]]).sum()) / 240
    assert dict(fitted.losses)[fitted.penalty] == pytest.approx(loss, abs=1e-3)


def test_a_held_out_part_is_one_fold() -> None:
    features_NF, labels_N = clouds(200, 20, 2)
    fold_N = np.where(np.arange(200) < 150, NEVER, 0)
    fitted = fit_head(features_NF, labels_N, names(2), fold_N)
    assert len(fitted.fold_heads) == 1
    assert np.isnan(fitted.held_out_NK[:150]).all()
    wanted_NK = by_scikit_learn(features_NF, labels_N, fitted.penalty, fold_N == NEVER)
    np.testing.assert_allclose(fitted.probabilities()[150:], wanted_NK[150:], atol=0.005)


def test_the_penalty_is_the_one_with_the_least_loss_of_what_is_held_out() -> None:
    def fitted(apart: float) -> FittedHead:
        features_NF, labels_N = clouds(300, 50, 3, apart)
        return fit_head(features_NF, labels_N, names(3), np.arange(300) // 3 % 5)

    noise, clear = fitted(0.0), fitted(3.0)
    for one in (noise, clear):
        assert one.penalty == min(one.losses, key=lambda tried: tried[1])[0]
    # Noise teaches nothing: no answer is better than uniform probabilities.
    assert dict(noise.losses)[noise.penalty] == pytest.approx(np.log(3), abs=0.02)
    assert clear.penalty < noise.penalty / 10


def test_a_weight_of_two_is_the_image_twice() -> None:
    features_NF, labels_N = clouds(150, 20, 3)
    weights_N = np.where(labels_N == 0, 2, 1).astype(np.float32)
    fold_N = np.arange(150) // 3 % 5
    fitted = fit_head(features_NF, labels_N, names(3), fold_N, weights_N)
    wanted_NK = by_scikit_learn(features_NF, labels_N, fitted.penalty, None, weights_N)
    np.testing.assert_allclose(answers(fitted.head, features_NF), wanted_NK, atol=1e-4)
    out_NK = np.log(fitted.probabilities()[np.arange(150), labels_N])
    loss = -float((weights_N * out_NK).sum() / weights_N.sum())
    assert dict(fitted.losses)[fitted.penalty] == pytest.approx(loss, rel=1e-5)


def test_features_in_other_units_give_the_same_answers() -> None:
    features_NF, labels_N = clouds(120, 20, 3)
    fold_N = np.arange(120) // 3 % 5
    first = fit_head(features_NF, labels_N, names(3), fold_N)
    other_NF = (features_NF * 1000 + 20).astype(np.float32)
    second = fit_head(other_NF, labels_N, names(3), fold_N)
    assert first.penalty == pytest.approx(second.penalty)
    np.testing.assert_allclose(
        answers(first.head, features_NF), answers(second.head, other_NF), atol=1e-3
    )


@pytest.mark.parametrize("images", [12, 200])
def test_a_feature_that_never_varies_counts_for_nothing(images: int) -> None:
    features_NF, labels_N = clouds(images, 20, 2)
    fold_N = np.arange(images) // 2 % 3
    with_NF = np.hstack([features_NF, np.full((images, 1), 0.1, np.float32)])
    fitted = fit_head(with_NF, labels_N, names(2), fold_N)
    assert not fitted.head.weights_KF[:, -1].any()
    without = fit_head(features_NF, labels_N, names(2), fold_N)
    np.testing.assert_allclose(
        answers(fitted.head, with_NF), answers(without.head, features_NF), atol=1e-5
    )


def test_a_feature_that_one_image_excites_a_little_decides_nothing() -> None:
    """Another image excites it as much as other features; it is answered as without it."""
    features_NF, labels_N = clouds(200, 30, 3, apart=1.5)
    features_NF = (features_NF - features_NF.mean(axis=0)) / features_NF.std(axis=0)
    dead_N1 = np.zeros((200, 1), np.float32)
    dead_N1[3] = 1e-4
    both_NF = np.hstack([features_NF, dead_N1])
    fold_N = np.arange(200) // 3 % 5
    heads = [
        fit_head(given_NF, labels_N, names(3), fold_N).head for given_NF in (features_NF, both_NF)
    ]
    excited_NF = np.hstack([features_NF, np.ones((200, 1), np.float32)])
    wanted_NK = answers(heads[0], features_NF)
    np.testing.assert_allclose(answers(heads[1], excited_NF), wanted_NK, atol=0.05)


def test_features_that_are_all_the_same_give_each_class_its_share() -> None:
    labels_N = np.repeat([0, 1], [30, 10])
    same_NF = np.ones((40, 5), np.float32)
    fitted = fit_head(same_NF, labels_N, names(2), np.arange(40) % 5)
    np.testing.assert_allclose(
        answers(fitted.head, same_NF), np.tile([0.75, 0.25], (40, 1)), atol=1e-4
    )


def test_a_class_in_one_fold_alone_is_trained_on_in_all() -> None:
    features_NF, labels_N = clouds(90, 20, 3)
    labels_N[labels_N == 2] = 0
    labels_N[7] = 2
    fitted = fit_head(features_NF, labels_N, ["ant", "bee", "moth"], np.arange(90) // 3 % 5)
    assert np.isnan(fitted.held_out_NK[7]).all()
    assert np.isfinite(np.delete(fitted.held_out_NK, 7, axis=0)).all()
    (note,) = fitted.notes
    assert note.endswith("to hold any out: moth")


def test_one_picture_a_class_is_learnt_with_a_usual_penalty() -> None:
    features_NF, labels_N = clouds(3, 50, 3, apart=4)
    fitted = fit_head(features_NF, labels_N, names(3), np.arange(3))
    assert not fitted.losses
    assert not fitted.fold_heads
    assert np.isnan(fitted.held_out_NK).all()
    assert "too few pictures to hold any out" in fitted.notes[0]
    assert (answers(fitted.head, features_NF).argmax(axis=1) == labels_N).all()


def test_a_class_without_images_is_next_to_impossible() -> None:
    features_NF, labels_N = clouds(100, 20, 2)
    fitted = fit_head(features_NF, labels_N, names(3), np.arange(100) // 2 % 5)
    assert answers(fitted.head, features_NF)[:, 2].max() < 0.05


def test_the_same_features_give_the_same_bits() -> None:
    features_NF, labels_N = clouds(200, 60, 4)
    first, second = (
        fit_head(features_NF, labels_N, names(4), np.arange(200) // 4 % 5) for _ in range(2)
    )
    assert np.array_equal(first.head.weights_KF, second.head.weights_KF)
    assert np.array_equal(first.held_out_NK, second.held_out_NK)


def test_features_that_are_no_numbers_are_refused() -> None:
    features_NF, labels_N = clouds(10, 5, 2)
    features_NF[3, 2] = np.nan
    with pytest.raises(ValueError, match="finite"):
        fit_head(features_NF, labels_N, names(2), np.arange(10) % 5)


def test_every_library_computes_with_one_thread_also_when_loaded_late() -> None:
    """SciPy's library has its own threads, which took twenty times as long on a busy machine."""
    program = """
import numpy as np
from threadpoolctl import threadpool_info
from firstlight.training import linear_head

axes = linear_head.principal_axes

def watched(features_NF):
    import scipy.linalg
    print({one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"})
    return axes(features_NF)

linear_head.principal_axes = watched
features_NF = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
linear_head.fit_head(features_NF, np.arange(20) % 2, ["a", "b"], np.arange(20) // 2 % 5)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "{1}"
