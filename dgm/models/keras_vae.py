"""Variational autoencoder in Keras 3, for any backend.  Taught in the lecture `vae_keras`, which holds the twins."""

from __future__ import annotations

import keras
from keras import layers, ops

__all__ = ["VAE", "Sampling", "build_decoder", "build_encoder", "kl_to_prior", "soft_bce"]


def soft_bce(x, logits):
    """sum_i log(1 + e^a_i) - x_i a_i, in nats, one number per image; `x` in [0, 1], any number of channels.

    Not a likelihood for grey `x`: its floor is the entropy of the pixels.
    """
    pixels = ops.binary_crossentropy(x, logits, from_logits=True)
    return ops.sum(pixels, axis=tuple(range(1, len(x.shape))))


@keras.saving.register_keras_serializable(package="dgm")
class Sampling(keras.layers.Layer):
    """z = mean + sd * noise; the noise is drawn from the layer's own generator unless it is handed over."""

    def __init__(self, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.numbers = keras.random.SeedGenerator(seed)

    def call(self, z_mean, z_log_var, noise=None):
        """Codes of the shape of `z_mean`."""
        if noise is None:
            noise = keras.random.normal(ops.shape(z_mean), seed=self.numbers)
        return z_mean + ops.exp(0.5 * z_log_var) * noise

    def get_config(self):
        """The seed; not the state of the generator."""
        return {**super().get_config(), "seed": self.seed}


def kl_to_prior(z_mean, z_log_var):
    """KL(N(mean, var) || N(0, I)) in nats, one number per example."""
    terms = ops.square(z_mean) + ops.exp(z_log_var) - 1 - z_log_var
    return 0.5 * ops.sum(terms, axis=-1)


def build_encoder(latent_dim, start_log_var=None):
    """Images (28, 28, 1) to [z_mean, z_log_var], each (latent_dim,); 69,076 parameters with two latent units.

    `start_log_var`: log-variance of every code before training; None for the default initial weights of Keras.
    """
    relu, start = {"activation": "relu"}, {}
    if start_log_var is not None:
        constant = keras.initializers.Constant(start_log_var)
        start = {"kernel_initializer": "zeros", "bias_initializer": constant}
    x = keras.Input((28, 28, 1))
    h = layers.Conv2D(32, 3, strides=2, padding="same", **relu)(x)
    h = layers.Conv2D(64, 3, strides=2, padding="same", **relu)(h)
    h = layers.Dense(16, **relu)(layers.Flatten()(h))
    z_mean = layers.Dense(latent_dim, name="z_mean")(h)
    z_log_var = layers.Dense(latent_dim, name="z_log_var", **start)(h)
    return keras.Model(x, [z_mean, z_log_var], name="encoder")


def build_decoder(latent_dim, widths):
    """Codes (latent_dim,) to logits (28, 28, 1); `widths`: channels of the two hidden layers, published (64, 32)."""
    relu = {"activation": "relu"}
    z = keras.Input((latent_dim,))
    h = layers.Dense(7 * 7 * widths[0], **relu)(z)
    h = layers.Reshape((7, 7, widths[0]))(h)
    for width in widths:
        h = layers.Conv2DTranspose(width, 3, strides=2, padding="same", **relu)(h)
    logits = layers.Conv2DTranspose(1, 3, padding="same")(h)
    return keras.Model(z, logits, name="decoder")


@keras.saving.register_keras_serializable(package="dgm")
class VAE(keras.Model):
    """Encoder, sampling and decoder; the loss is the mean over images of soft-BCE + beta KL, in nats, to be minimised.

    `encoder` gives (z_mean, z_log_var), `decoder` logits.  `call` gives (logits, z_mean, z_log_var); `fit`, `evaluate`,
    `predict` and `save` work as for any Keras model.  Kingma and Welling 2014; eq-vk-loss.
    """

    def __init__(self, encoder, decoder, *, beta=1.0, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.beta, self.seed = beta, seed
        self.sampling = Sampling(seed)
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction")
        self.kl_tracker = keras.metrics.Mean(name="kl")

    def call(self, x, noise=None):
        """Logits of the pixels, means and log-variances of the codes; `noise` as in `Sampling`."""
        z_mean, z_log_var = self.encoder(x)
        z = self.sampling(z_mean, z_log_var, noise)
        return self.decoder(z), z_mean, z_log_var

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean over the images of both terms; Keras calls it in `fit` and in `evaluate`."""
        logits, z_mean, z_log_var = y_pred
        reconstruction, kl = soft_bce(x, logits), kl_to_prior(z_mean, z_log_var)
        self.reconstruction_tracker.update_state(reconstruction)
        self.kl_tracker.update_state(kl)
        return ops.mean(reconstruction + self.beta * kl)

    def get_config(self):
        """All that is needed to build the model again, both networks included."""
        networks = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in ("encoder", "decoder")}
        rest = {"beta": self.beta, "seed": self.seed}
        return {**super().get_config(), **networks, **rest}

    @classmethod
    def from_config(cls, config):
        """The model that `get_config` describes."""
        for name in ("encoder", "decoder"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
