"""rawcnn: the classic CNNs in raw TensorFlow, as their papers print them."""

__version__ = "0.1.0"
