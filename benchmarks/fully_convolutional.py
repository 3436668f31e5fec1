"""How much faster one pass over a larger picture is than the network on each of its windows.

    python -m benchmarks.fully_convolutional --model vgg16 --windows 6 --repeats 5

Random weights, float32, one picture, TensorFlow; the windows go as one batch or one by one. It
prints seconds as median (least to most), the ratio of each repeat likewise, and how far the two
are apart, which is the padding's doing (models/surgery.py).
"""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--options", type=json.loads, default={}, help="as '{\"dropout_rate\": 0}'")
    parser.add_argument("--windows", type=int, default=6, help="of them, squared")
    parser.add_argument("--batch", type=int, default=36, help="windows at a time")
    parser.add_argument("--repeats", type=int, default=5)
    measure(**vars(parser.parse_args()))


def measure(model: str, options: dict, windows: int, batch: int, repeats: int) -> None:
    import keras
    import tensorflow as tf

    from models import ARCHITECTURES, create_model
    from models.surgery import stride, to_fully_convolutional

    keras.utils.set_random_seed(0)
    height, width, channels = ARCHITECTURES[model].input_shape
    network = create_model(model, 1000, **options)
    dense = to_fully_convolutional(network, (height, width, channels))
    down, right = stride(dense, (height, width, channels))
    places = [(y * down, x * right) for y in range(windows) for x in range(windows)]
    size = [1, height + down * (windows - 1), width + right * (windows - 1), channels]
    image = tf.random.stateless_normal(size, seed=[1, 2])
    at_once = tf.function(lambda images: dense(images, training=False))
    alone = tf.function(lambda images: network(images, training=False))

    def sliding() -> tf.Tensor:
        crops = tf.concat([image[:, y : y + height, x : x + width] for y, x in places], axis=0)
        return tf.concat([alone(crops[i : i + batch]) for i in range(0, len(places), batch)], 0)

    def seconds(compute) -> float:
        start = time.perf_counter()
        compute().numpy()
        return time.perf_counter() - start

    scores, expected = at_once(image), sliding()  # compiled here, not measured
    # In turn, so that whatever else the machine does meets both alike.
    pairs = [(seconds(lambda: at_once(image)), seconds(sliding)) for _ in range(repeats)]
    off = tf.reshape(scores, expected.shape) - expected
    relative = float(tf.norm(off) / tf.norm(expected))
    print(
        f"{model}: a picture of {size[1]}x{size[2]}, {len(places)} windows, stride {down}x{right}"
    )
    print(f"at once          {spread([once for once, _ in pairs])} s")
    print(f"window by window {spread([each for _, each in pairs])} s, {batch} at a time")
    print(f"ratio            {spread([each / once for once, each in pairs])}")
    print(f"apart            {relative:.3f} of the scores' size (root mean square)")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
