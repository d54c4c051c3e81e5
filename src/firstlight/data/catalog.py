"""The named data sets: what they hold, where they come from, and how to know the real ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from firstlight.data.dataset import Int64Array, UInt8Array
from firstlight.data.digits import read_digits

IDX, CIFAR = "idx", "cifar"
"""Readers of files: MNIST's format, images and labels of each part in a file of their own; and
CIFAR-10's batches."""
Arrays = tuple[UInt8Array, Int64Array]
"""Images N×H×W×C and labels N."""
Reader = str | Callable[[], Mapping[str, Arrays]]
"""``IDX`` or ``CIFAR`` for a set that is files, or a function that gives ``train`` and ``test``."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One archive as published."""

    name: str
    """The file name, kept when it is saved."""
    md5: str
    """Published checksum of the archive, hex."""
    size: int
    """Bytes."""
    urls: tuple[str, ...]
    """Public https addresses, tried in this order."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """SHA-256 (hex) of the decoded bytes, whatever container they came in."""

    train_images: str
    """Of the pixels, uint8 N×H×W×C."""
    train_labels: str
    """Of the labels, one byte each."""
    test_images: str
    test_labels: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One named data set."""

    name: str
    title: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    """Height, width, channels."""
    train_count: int
    test_count: int
    reader: Reader
    """What makes arrays of it."""
    files: tuple[RemoteFile, ...] = ()
    """For ``IDX`` images and labels of the training, then of the test part. None for a function."""
    origin: str = "embedded"
    """Where a function takes it from, in a word."""
    subfolders: tuple[str, ...] = ()
    """Where it may be below a folder that is looked into, in this order; by default under its own
    name alone."""
    keras: str = ""
    """The name of Keras's file of all four arrays, where it leaves one."""
    content: Content
    licence: str
    citation: str
    light_on_dark: bool
    """Light strokes or clothes on a black ground."""
    centred_strokes: bool
    """Each image is one stroke, fitted and centred by its mass."""

    def __post_init__(self) -> None:
        wanted = {IDX: 4, CIFAR: 1}.get(self.reader, -1) if isinstance(self.reader, str) else 0
        if len(self.files) != wanted:
            known = (
                f'reader must be "{IDX}" with 4 files, "{CIFAR}" with 1, or a function with none'
            )
            raise ValueError(f"{self.name}: {known}, not {self.reader!r} with {len(self.files)}")


DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def _idx_files(
    mirrors: tuple[str, ...], facts: tuple[tuple[str, str, int], ...]
) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name=name, md5=md5, size=size, urls=tuple(m + name for m in mirrors))
        for name, md5, size in facts
    )


MNIST = Entry(
    name="mnist",
    title="MNIST handwritten digits",
    class_names=DIGITS,
    image_shape=(28, 28, 1),
    train_count=60_000,
    test_count=10_000,
    reader=IDX,
    subfolders=("", "mnist", "MNIST/raw"),
    keras="mnist.npz",
    files=_idx_files(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        (
            ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
            ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", 28_881),
            ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", 1_648_877),
            ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", 4_542),
        ),
    ),
    content=Content(
        train_images="741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        train_labels="1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        test_images="6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        test_labels="ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    ),
    licence="CC BY-SA 3.0 (LeCun, Cortes, Burges)",
    citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to "
    "document recognition. Proceedings of the IEEE 86(11), 1998",
    light_on_dark=True,
    centred_strokes=True,
)

FASHION_MNIST = Entry(
    name="fashion_mnist",
    title="Fashion-MNIST articles of clothing",
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    image_shape=(28, 28, 1),
    train_count=60_000,
    test_count=10_000,
    reader=IDX,
    # Not the folder itself: MNIST's files have the same names.
    subfolders=("fashion_mnist", "fashion-mnist", "FashionMNIST/raw"),
    files=_idx_files(
        (
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        (
            ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
            ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", 29_515),
            ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", 4_422_102),
            ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", 5_148),
        ),
    ),
    content=Content(
        train_images="2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
        train_labels="657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
        test_images="c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        test_labels="3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    ),
    licence="MIT (Zalando SE)",
    citation="H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST, a novel image dataset for "
    "benchmarking machine learning algorithms. arXiv:1708.07747, 2017",
    light_on_dark=True,
    centred_strokes=False,
)

CIFAR10 = Entry(
    name="cifar10",
    title="CIFAR-10 photographs of ten things",
    class_names=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    image_shape=(32, 32, 3),
    train_count=50_000,
    test_count=10_000,
    reader=CIFAR,
    subfolders=("", "cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"),
    files=(
        RemoteFile(
            name="cifar-10-binary.tar.gz",
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            size=170_052_171,
            urls=(
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/"
                "cifar-10-binary.tar.gz",
            ),
        ),
    ),
    content=Content(
        train_images="47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        train_labels="2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        test_images="f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        test_labels="cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    ),
    licence="none stated; the authors ask to be cited",
    citation="A. Krizhevsky: Learning multiple layers of features from tiny images. "
    "Technical report, University of Toronto, 2009",
    light_on_dark=False,
    centred_strokes=False,
)

EMBEDDED_DIGITS = Entry(
    name="digits",
    title="scikit-learn's 1,797 scanned digits",
    class_names=DIGITS,
    image_shape=(8, 8, 1),
    train_count=1_437,
    test_count=360,
    reader=read_digits,
    origin="scikit-learn",
    content=Content(
        train_images="1a5fd3b5c524e826767083c882fe4f8c91850d3568a78caadaa66eb3fe78f5b6",
        train_labels="00d355536cfe54c3c5aaa1bbc756008bcc5ba7030407f225954ebda1d1ca46c9",
        test_images="a422c8110b35908d8bc868469498d8bc67c5d5f4357631b3ded0ee283ca6a1e9",
        test_labels="7a7a9acee298b8862700d7c2a0341a0ee3744e1369c9107a26149f5d0e61b304",
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository); embedded in scikit-learn",
    citation="E. Alpaydin, C. Kaynak: Optical recognition of handwritten digits. "
    "UCI Machine Learning Repository, 1998, doi:10.24432/C50P49",
    light_on_dark=True,
    centred_strokes=False,
)

CATALOG: dict[str, Entry] = {
    entry.name: entry for entry in (MNIST, FASHION_MNIST, CIFAR10, EMBEDDED_DIGITS)
}
