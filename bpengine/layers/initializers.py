"""Initial weights, drawn in float64 from a seeded NumPy generator, so that every backend starts from the same numbers.

With fan_in inputs and fan_out outputs, standard deviations are: Glorot sqrt(2 / (fan_in + fan_out)), He sqrt(2 / fan_in),
LeCun sqrt(1 / fan_in). All three draw from the normal distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from bpengine.backend import ArrayLike, as_host
from bpengine.errors import ConfigError, DataError, ShapeError, number, unknown
from bpengine.kernels import KERNELS

HostArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Initializer:
    """Base: draws an array of a shape (fan_in, fan_out) or (outputs,).

    >>> class Ones(bp.initializers.Initializer):
    ...     def __call__(self, rng, shape):
    ...         return np.ones(shape)
    >>> bp.Model(bp.Network(2, bp.Dense(1, weight_init=Ones()), "mean_squared_error")).parameters["0.weight"]
    array([[1.],
           [1.]], dtype=float32)
    """

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Return the initial values in float64."""
        raise ConfigError(f"{type(self).__name__} does not say what it draws. Give it a __call__(rng, shape).")


@dataclass(frozen=True)
class Zeros(Initializer):
    """All zeros.

    >>> bp.initializers.Zeros()(np.random.default_rng(0), (2, 1))
    array([[0.],
           [0.]])
    """

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Return zeros."""
        return np.zeros(shape)


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal distribution around 0 with standard deviation `std`.

    Raises ConfigError for a negative `std`.

    >>> bool(bp.initializers.Normal(0.5)(np.random.default_rng(0), (1000, 10)).std().round(1) == 0.5)
    True
    """

    std: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", number(self.std, "Normal", "std", low=0))

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Draw the values."""
        return self.std * rng.standard_normal(shape)


@dataclass(frozen=True)
class Uniform(Initializer):
    """Uniform distribution between -limit and limit.

    Raises ConfigError for a negative `limit`.

    >>> bool(abs(bp.initializers.Uniform(0.1)(np.random.default_rng(0), (1000, 10))).max() <= 0.1)
    True
    """

    limit: float = 0.05

    def __post_init__(self) -> None:
        object.__setattr__(self, "limit", number(self.limit, "Uniform", "limit", low=0))

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Draw the values."""
        return rng.uniform(-self.limit, self.limit, shape)


@dataclass(frozen=True)
class Glorot(Initializer):
    """Keeps variances in both directions. Source: Glorot, Bengio, AISTATS 2010, equation 16.

    >>> float(bp.initializers.Glorot()(np.random.default_rng(0), (300, 100)).std().round(2))  # sqrt(2 / 400)
    0.07
    """

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Draw the values."""
        return math.sqrt(2.0 / sum(_fans(shape))) * rng.standard_normal(shape)


@dataclass(frozen=True)
class He(Initializer):
    """Keeps the variance of the forward pass through relu. Source: He, Zhang, Ren, Sun, ICCV 2015, equation 10.

    >>> float(bp.initializers.He()(np.random.default_rng(0), (200, 100)).std().round(2))  # sqrt(2 / 200)
    0.1
    """

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Draw the values."""
        return math.sqrt(2.0 / _fans(shape)[0]) * rng.standard_normal(shape)


@dataclass(frozen=True)
class LeCun(Initializer):
    """Keeps the variance of the forward pass. Source: LeCun, Bottou, Orr, Mueller, "Efficient BackProp", 1998, section 4.6.

    >>> float(bp.initializers.LeCun()(np.random.default_rng(0), (400, 100)).std().round(2))  # sqrt(1 / 400)
    0.05
    """

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Draw the values."""
        return math.sqrt(1.0 / _fans(shape)[0]) * rng.standard_normal(shape)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """Orthonormal rows or columns, times `gain`. Source: Saxe, McClelland, Ganguli, ICLR 2014.

    Raises ConfigError for a gain that is not a finite number.

    >>> q = bp.initializers.Orthogonal()(np.random.default_rng(0), (3, 2))
    >>> bool(np.allclose(q.T @ q, np.eye(2)))
    True
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", number(self.gain, "Orthogonal", "gain"))

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Draw a normal matrix and keep the orthogonal factor of its QR decomposition, with the signs made unique."""
        fan_in, fan_out = _fans(shape)
        q, r = np.linalg.qr(rng.standard_normal((max(fan_in, fan_out), min(fan_in, fan_out))))
        q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
        return self.gain * (q if fan_in >= fan_out else q.T).reshape(shape)


@dataclass(frozen=True, eq=False)
class Explicit(Initializer):
    """Given values; a model file does not store them, so a loaded network cannot be initialised again.

    >>> bp.initializers.Explicit([[0.5], [-0.5]])(np.random.default_rng(0), (2, 1))
    array([[ 0.5],
           [-0.5]])
    """

    values: Any = field(default=None, repr=False)

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Return a copy of the values; raise ShapeError when they have another shape."""
        if self.values is None:
            raise ConfigError(
                "these initial values were given as an array and are not kept in a model file. Give them again."
            )
        try:
            values = np.array(as_host(self.values), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"the explicit initial values require numbers, got {self.values!r}: {error}.") from None
        if values.shape != shape:
            raise ShapeError(
                f"the explicit initial values must have the shape {shape} (inputs, outputs), got {values.shape}."
            )
        return values


INITIALIZERS: dict[str, Initializer] = {
    "zeros": Zeros(),
    "normal": Normal(),
    "uniform": Uniform(),
    "glorot": Glorot(),
    "he": He(),
    "lecun": LeCun(),
    "orthogonal": Orthogonal(),
}


InitializerLike: TypeAlias = str | Initializer | ArrayLike  # a name, an initialiser, or the values


def make_initializer(spec: InitializerLike, activation: str = "identity") -> Initializer:
    """Return an initialiser from a name, an array, or an initialiser; "auto" chooses by the activation that follows.

    "auto" is He for the relu family, LeCun for selu, Glorot for all others.
    Raises ConfigError for an unknown name.

    >>> make_initializer("auto", "relu")
    He()
    """
    if isinstance(spec, Initializer):
        return spec
    if isinstance(spec, str):
        if spec == "auto":
            return INITIALIZERS[KERNELS[activation].initializer if activation in KERNELS else "glorot"]
        if spec not in INITIALIZERS:
            raise unknown("initializer", spec, [*INITIALIZERS, "auto"])
        return INITIALIZERS[spec]
    return Explicit(spec)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    return (shape[0], shape[-1]) if len(shape) > 1 else (1, shape[0])
