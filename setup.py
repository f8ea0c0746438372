"""Packaging of rawcnn; see BUILD.md."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "rawcnn/__init__.py").read_text(encoding="utf-8")).group(1)

EXTRAS = {
    "plots": ["matplotlib>=3.8"],
    "convert": ["h5py>=3.11"],
    "tensorboard": ["tensorboard>=2.21"],
    "onnx": ["tf2onnx>=1.17", "onnxruntime>=1.20"],
    "tflite": ["ai-edge-litert>=2.0"],
    "bench": ["keras>=3.12", "torch>=2.5", "matplotlib>=3.8"],
    "test": [
        "pytest>=8",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "keras>=3.12",
        "h5py>=3.11",
        "safetensors>=0.5",
        "hypothesis>=6.100",
        "matplotlib>=3.8",
        "selenium>=4.25",
    ],
    "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.27"],
    "dev": ["ruff>=0.14", "mypy>=1.18", "nbclient>=0.10", "ipykernel>=6.29"],
}
EXTRAS["all"] = sorted({requirement for name in ("plots", "convert", "tensorboard") for requirement in EXTRAS[name]})

setup(
    name="rawcnn",
    version=VERSION,
    description="The classic CNNs in raw TensorFlow, as their papers print them, trained at the speed of the hardware",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["rawcnn", "rawcnn.*"]),
    package_data={"rawcnn": ["py.typed"], "rawcnn.report": ["*.html", "*.css", "*.js"]},
    python_requires=">=3.10",
    install_requires=["tensorflow>=2.20,<3", "numpy>=1.26", "scipy>=1.11", "pillow>=10.1", "absl-py>=2.1"],
    entry_points={"console_scripts": ["rawcnn = rawcnn.__main__:main"]},
    extras_require=EXTRAS,
    classifiers=[
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
