"""Convolutional VAE of the Keras example on TensorFlow, batch 128: 6,400 images, forwards and backwards.

Textbook: the `train_step` that the example prints, with `tf.GradientTape`, probabilities instead of logits, and three
metrics.  Ours: `dgm.models.keras_vae.VAE`, the twin of the lecture's class, with `compute_loss`.  Both run in `fit`,
with the same layers and sizes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from side_by_side import measure, seconds

from dgm.data import load_digits
from dgm.models.keras_vae import VAE, Sampling, build_decoder, build_encoder

NAME = "vae_keras"
BATCH_SIZE, NUM_IMAGES, WIDTHS = 128, 6_400, (64, 32)


class TextbookVAE(keras.Model):
    """The model with a training step of its own, tied to TensorFlow."""

    def __init__(self, encoder: keras.Model, decoder: keras.Model) -> None:
        super().__init__()
        self.encoder, self.decoder, self.sampling = encoder, decoder, Sampling(0)
        self.parts = [keras.metrics.Mean(name=name) for name in ("total", "reconstruction", "kl")]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """What `fit` sets back at each epoch."""
        return self.parts

    def train_step(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
        """Gradient of both terms by a tape."""
        with tf.GradientTape() as tape:
            z_mean, z_log_var = self.encoder(data)
            probs = tf.sigmoid(self.decoder(self.sampling(z_mean, z_log_var)))
            pixels = keras.losses.binary_crossentropy(data, probs)
            reconstruction = tf.reduce_mean(tf.reduce_sum(pixels, axis=(1, 2)))
            terms = 1 + z_log_var - tf.square(z_mean) - tf.exp(z_log_var)
            kl = tf.reduce_mean(tf.reduce_sum(-0.5 * terms, axis=1))
            total = reconstruction + kl
        gradients = tape.gradient(total, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        for metric, value in zip(self.parts, (total, reconstruction, kl), strict=True):
            metric.update_state(value)
        return {metric.name: metric.result() for metric in self.parts}


def epochs() -> tuple[Callable[[], object], Callable[[], object], float]:
    """Our pass over the images, the textbook's, and the floating-point operations of the convolutions in ours."""
    images = load_digits().vectors("train")[:NUM_IMAGES].reshape(-1, 28, 28, 1)
    actions = []
    for kind in (VAE, TextbookVAE):
        keras.utils.set_random_seed(0)
        model = kind(build_encoder(2), build_decoder(2, WIDTHS))
        model.compile(optimizer=keras.optimizers.Adam())
        actions.append(lambda model=model: model.fit(images, batch_size=BATCH_SIZE, verbose=0))
    # Products of an image, forwards: positions of the smaller side, times kernel, times channels in and out.
    first = 14**2 * 9 * 1 * 32
    others = 7**2 * 9 * 32 * 64 + 7**2 * 9 * 64 * 64 + 14**2 * 9 * 64 * 32 + 28**2 * 9 * 32 * 1
    # Backwards twice as many, but for the first layer: nobody asks for the gradient in the image.
    return *actions, 2 * (2 * first + 3 * others) * len(images)


def convolution_rate() -> float:
    """Floating-point operations per second of a 3 x 3 convolution, 64 to 64 channels on 28 x 28, the best of five."""
    x, kernel = tf.random.normal((BATCH_SIZE, 28, 28, 64)), tf.random.normal((3, 3, 64, 64))

    @tf.function
    def convolve() -> tf.Tensor:
        return tf.reduce_sum(tf.nn.conv2d(x, kernel, 1, "SAME"))

    convolve()
    flops = 2 * BATCH_SIZE * 28**2 * 9 * 64 * 64
    return flops / min(seconds(lambda: convolve().numpy()) for _ in range(5))


if __name__ == "__main__":
    import sys

    print(json.dumps(measure(sys.modules["__main__"], convolution_rate, "convolutions")))
