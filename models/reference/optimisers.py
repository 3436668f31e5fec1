"""How a weight follows its gradient. Each makes the step for one weight, which remembers:

step = momentum(0.9)
w = step(w, dw, learning_rate)
"""

from collections.abc import Callable

import numpy as np

Step = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def sgd() -> Step:
    return lambda w, dw, learning_rate: w - learning_rate * dw


def momentum(mu: float = 0.9) -> Step:
    """v = mu v - rate dw; w = w + v, as CS231n and Keras.

    PyTorch's v = mu v + dw; w = w - rate v is the same until the rate changes: there a new rate
    holds at once for all that v has gathered, here for what comes.
    """
    v = 0.0

    def step(w: np.ndarray, dw: np.ndarray, learning_rate: float) -> np.ndarray:
        nonlocal v
        v = mu * v - learning_rate * dw
        return w + v

    return step


def nesterov(mu: float = 0.9) -> Step:
    """As `momentum`, with the gradient of where v would lead to; w is always that place ahead.

    Source:  Sutskever 2013, section 2, in Bengio's form (Bengio 2013, arXiv 1212.0901).
    """
    v = 0.0

    def step(w: np.ndarray, dw: np.ndarray, learning_rate: float) -> np.ndarray:
        nonlocal v
        v = mu * v - learning_rate * dw
        return w + mu * v - learning_rate * dw

    return step


def rmsprop(rho: float = 0.99, epsilon: float = 1e-8) -> Step:
    """The gradient over the root of its own mean square.

    Source:  Tieleman & Hinton 2012, lecture 6.5; the numbers are CS231n's.
    Differs: Keras has rho 0.9, epsilon 1e-7, and adds it under the root.
    """
    square = 0.0

    def step(w: np.ndarray, dw: np.ndarray, learning_rate: float) -> np.ndarray:
        nonlocal square
        square = rho * square + (1 - rho) * dw**2
        return w - learning_rate * dw / (np.sqrt(square) + epsilon)

    return step


def adam(beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> Step:
    """Means of the gradient and its square, each divided by how much of it is there yet.

    Source:  Kingma & Ba 2015, algorithm 1, arXiv 1412.6980.
    Differs: Keras has epsilon 1e-7, and in the place that the end of the paper's section 2 has.
    """
    t, m, v = 0, 0.0, 0.0

    def step(w: np.ndarray, dw: np.ndarray, learning_rate: float) -> np.ndarray:
        nonlocal t, m, v
        t += 1
        m = beta1 * m + (1 - beta1) * dw
        v = beta2 * v + (1 - beta2) * dw**2
        unbiased = m / (1 - beta1**t), v / (1 - beta2**t)
        return w - learning_rate * unbiased[0] / (np.sqrt(unbiased[1]) + epsilon)

    return step
