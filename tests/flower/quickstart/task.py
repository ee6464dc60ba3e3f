"""The task: softmax regression on scikit-learn's digits."""

import numpy as np
from sklearn.datasets import load_digits


def load_data(partition_id: int, num_partitions: int):
    """The examples and labels of one client."""
    x, y = load_digits(return_X_y=True)
    return x[partition_id:1400:num_partitions] / 16, y[partition_id:1400:num_partitions]


def load_test_data():
    """The examples and labels nobody trains on."""
    x, y = load_digits(return_X_y=True)
    return x[1400:] / 16, y[1400:]


def initial_model():
    """Weights and biases, all zero."""
    return [np.zeros((64, 10), np.float32), np.zeros(10, np.float32)]


def probabilities(model, x):
    """What the model thinks of each example and class."""
    weights, biases = model
    logits = x @ weights + biases
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def train(model, x, y, epochs: int, learning_rate: float):
    """The model after some epochs of gradient descent, and its loss."""
    weights, biases = (array.copy() for array in model)
    for _ in range(epochs):
        errors = (probabilities((weights, biases), x) - np.eye(10)[y]) / len(y)
        weights -= (learning_rate * x.T @ errors).astype(np.float32)
        biases -= (learning_rate * errors.sum(axis=0)).astype(np.float32)
    return [weights, biases], loss([weights, biases], x, y)


def loss(model, x, y) -> float:
    """The mean negative log-likelihood of the labels."""
    return float(-np.log(probabilities(model, x)[np.arange(len(y)), y] + 1e-12).mean())


def accuracy(model, x, y) -> float:
    """The share of examples the model gets right."""
    return float((probabilities(model, x).argmax(axis=1) == y).mean())
