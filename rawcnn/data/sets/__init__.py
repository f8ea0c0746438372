"""The data sets by name: MNIST, CIFAR-10, digits that rawcnn draws itself, and how files are downloaded."""
