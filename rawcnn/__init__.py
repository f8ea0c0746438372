"""rawcnn: the classic CNNs in raw TensorFlow, as their papers print them.

    import rawcnn as rc

This is the front door: `dir(rc)` lists what it gives. Each name is imported when it is first asked for, so
`import rawcnn` itself takes no time. The rooms behind it stay open: `rawcnn.layers`, `rawcnn.ops`, `rawcnn.nets`,
`rawcnn.data`, `rawcnn.train`, `rawcnn.run`.

Import it before TensorFlow: it sets what TensorFlow reads when it starts.
"""

import importlib

from rawcnn import start

__version__ = "0.1.0"

start.prepare()

TYPE_CHECKING = False  # type checkers take it for True; typing's own costs an import
if TYPE_CHECKING:  # the same names for editors and type checkers; tests/house/test_front_door.py compares them
    from rawcnn import data as data
    from rawcnn import files as files
    from rawcnn import layers as layers
    from rawcnn import nets as nets
    from rawcnn import ops as ops
    from rawcnn import run as run
    from rawcnn import train as train
    from rawcnn.data.augment import cutout as cutout
    from rawcnn.data.augment import distort as distort
    from rawcnn.data.augment import pca_lighting as pca_lighting
    from rawcnn.data.augment import photometric as photometric
    from rawcnn.data.augment import random_erasing as random_erasing
    from rawcnn.data.balance import balanced_weights as balanced_weights
    from rawcnn.data.batches import batches as batches
    from rawcnn.data.batches import thumbnails as thumbnails
    from rawcnn.data.datasets import DataSet as DataSet
    from rawcnn.data.datasets import load_dataset as load_dataset
    from rawcnn.data.folds import folds as folds
    from rawcnn.data.mixing import Mixed as Mixed
    from rawcnn.data.mixing import cutmix as cutmix
    from rawcnn.data.mixing import mixup as mixup
    from rawcnn.data.packed.pack import pack as pack
    from rawcnn.data.preprocess import Preprocess as Preprocess
    from rawcnn.data.source import Source as Source
    from rawcnn.data.trivial import trivial_augment as trivial_augment
    from rawcnn.data.views import area_crop as area_crop
    from rawcnn.data.views import centre as centre
    from rawcnn.data.views import padded_crop as padded_crop
    from rawcnn.data.views import random_crop as random_crop
    from rawcnn.data.views import scale_jitter as scale_jitter
    from rawcnn.layers import LRN as LRN
    from rawcnn.layers import RBF as RBF
    from rawcnn.layers import AveragePool as AveragePool
    from rawcnn.layers import BatchNorm as BatchNorm
    from rawcnn.layers import Conv2D as Conv2D
    from rawcnn.layers import Dense as Dense
    from rawcnn.layers import Dropout as Dropout
    from rawcnn.layers import Flatten as Flatten
    from rawcnn.layers import Inception as Inception
    from rawcnn.layers import Layer as Layer
    from rawcnn.layers import MaxPool as MaxPool
    from rawcnn.layers import PartialConv2D as PartialConv2D
    from rawcnn.layers import Subsample as Subsample
    from rawcnn.layers import Whitening as Whitening
    from rawcnn.layers.variables import glorot_uniform as glorot_uniform
    from rawcnn.layers.variables import he_normal as he_normal
    from rawcnn.layers.variables import lecun_normal as lecun_normal
    from rawcnn.layers.variables import named_variables as named_variables
    from rawcnn.layers.variables import named_weights as named_weights
    from rawcnn.machine import one_thread_per_op as one_thread_per_op
    from rawcnn.nets import create_net as create_net
    from rawcnn.nets import list_nets as list_nets
    from rawcnn.nets import register_net as register_net
    from rawcnn.nets.chain import Chain as Chain
    from rawcnn.nets.chain import row as row
    from rawcnn.nets.folding import fold_batch_norm as fold_batch_norm
    from rawcnn.nets.precision import FLOAT32 as FLOAT32
    from rawcnn.nets.precision import MIXED_BFLOAT16 as MIXED_BFLOAT16
    from rawcnn.nets.precision import Policy as Policy
    from rawcnn.nets.summary import summary as summary
    from rawcnn.nets.weights import load_weights as load_weights
    from rawcnn.nets.weights import save_weights as save_weights
    from rawcnn.run.classify import load_run as load_run
    from rawcnn.run.doctor import doctor as doctor
    from rawcnn.run.export import export as export
    from rawcnn.run.session import Run as Run
    from rawcnn.train.answers import evaluate as evaluate
    from rawcnn.train.answers import predict as predict
    from rawcnn.train.evaluate import Evaluation as Evaluation
    from rawcnn.train.evaluate import class_scores as class_scores
    from rawcnn.train.evaluate import confusion_matrix as confusion_matrix
    from rawcnn.train.evaluate import make_eval_step as make_eval_step
    from rawcnn.train.find_rate import RateTest as RateTest
    from rawcnn.train.find_rate import find_rate as find_rate
    from rawcnn.train.fit import Progress as Progress
    from rawcnn.train.fit import train_epochs as train_epochs
    from rawcnn.train.lookahead import Lookahead as Lookahead
    from rawcnn.train.losses import rbf_map as rbf_map
    from rawcnn.train.losses import rbf_mse as rbf_mse
    from rawcnn.train.losses import softmax_cross_entropy as softmax_cross_entropy
    from rawcnn.train.losses import weighted as weighted
    from rawcnn.train.optimizers import SGD as SGD
    from rawcnn.train.optimizers import Adam as Adam
    from rawcnn.train.optimizers import Momentum as Momentum
    from rawcnn.train.optimizers import Muon as Muon
    from rawcnn.train.optimizers import Nesterov as Nesterov
    from rawcnn.train.recipes import Recipe as Recipe
    from rawcnn.train.recipes import recipe_of as recipe_of
    from rawcnn.train.schedules import constant as constant
    from rawcnn.train.schedules import cosine as cosine
    from rawcnn.train.schedules import linear as linear
    from rawcnn.train.schedules import staircase as staircase
    from rawcnn.train.simple import fit as fit
    from rawcnn.train.step import TrainState as TrainState
    from rawcnn.train.step import make_train_step as make_train_step
    from rawcnn.train.strategy import make_strategy as make_strategy

_ROOMS = ("data", "files", "layers", "nets", "ops", "run", "train")
_FROM = {
    "layers": "LRN RBF AveragePool BatchNorm Conv2D Dense Dropout Flatten Inception Layer MaxPool PartialConv2D "
    "Subsample Whitening",
    "layers.variables": "glorot_uniform he_normal lecun_normal named_variables named_weights",
    "nets.chain": "Chain row",
    "nets": "create_net list_nets register_net",
    "nets.folding": "fold_batch_norm",
    "nets.summary": "summary",
    "nets.weights": "load_weights save_weights",
    "nets.precision": "FLOAT32 MIXED_BFLOAT16 Policy",
    "data.source": "Source",
    "data.packed.pack": "pack",
    "data.preprocess": "Preprocess",
    "data.datasets": "DataSet load_dataset",
    "data.folds": "folds",
    "data.views": "area_crop centre padded_crop random_crop scale_jitter",
    "data.augment": "cutout distort pca_lighting photometric random_erasing",
    "data.balance": "balanced_weights",
    "data.mixing": "Mixed cutmix mixup",
    "data.trivial": "trivial_augment",
    "data.batches": "batches thumbnails",
    "train.simple": "fit",
    "train.answers": "evaluate predict",
    "train.find_rate": "RateTest find_rate",
    "train.fit": "Progress train_epochs",
    "train.evaluate": "Evaluation class_scores confusion_matrix make_eval_step",
    "train.step": "TrainState make_train_step",
    "train.strategy": "make_strategy",
    "train.optimizers": "SGD Adam Momentum Muon Nesterov",
    "train.lookahead": "Lookahead",
    "train.schedules": "constant cosine linear staircase",
    "train.losses": "rbf_map rbf_mse softmax_cross_entropy weighted",
    "train.recipes": "Recipe recipe_of",
    "run.session": "Run",
    "run.classify": "load_run",
    "run.doctor": "doctor",
    "run.export": "export",
    "machine": "one_thread_per_op",
}
"""Module -> the names that come from it."""
_WHERE = {name: (f"rawcnn.{module}", name) for module, names in _FROM.items() for name in names.split()}

_CALLED = {
    "Sequential": "Chain", "Model": "Chain", "MaxPooling2D": "MaxPool", "MaxPool2D": "MaxPool",
    "AveragePooling2D": "AveragePool", "AvgPool2d": "AveragePool", "BatchNormalization": "BatchNorm",
    "BatchNorm2d": "BatchNorm", "Linear": "Dense", "LocalResponseNorm": "LRN", "load_model": "load_run",
    "list_models": "list_nets", "create_model": "create_net", "DataLoader": "Source", "Dataset": "Source",
}  # fmt: skip
"""What Keras, PyTorch and timm call things, and what they are called here."""

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return importlib.import_module(f"rawcnn.{name}")
    if name not in _WHERE:
        from rawcnn.errors import did_you_mean

        ours = _CALLED.get(name)
        remedy = f" It is called rc.{ours} here." if ours else did_you_mean(name, _WHERE)
        raise AttributeError(f"rawcnn has no {name!r}.{remedy} dir(rawcnn) lists what it has.")
    module, there = _WHERE[name]
    value = getattr(importlib.import_module(module), there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_WHERE, *_ROOMS, "__version__"})
