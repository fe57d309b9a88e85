"""The array namespace of the CuPy backend: CuPy's names, and NumPy's while a step is being recorded.

So the step that runs eagerly on the GPU is the same step that is recorded, and arrays that it creates are NumPy arrays,
which the recorder treats as constants.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from bpengine.kernels._kernel import Array, Namespace


class SwitchingNamespace:
    """The namespace `xp`: the names of `eager`, but NumPy's inside `with xp.recording():`, for that thread only.

    `clip` and `sign` are defined here: array-api-compat's write through boolean masks on CuPy, which waits for the device,
    takes about ten launches, and cannot be captured. These use minimum and maximum; NaN stays NaN, as in NumPy.
    """

    def __init__(self, eager: Namespace) -> None:
        self._eager, self._thread = eager, threading.local()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Use NumPy's names in this thread."""
        before = self.is_recording
        self._thread.recording = True
        try:
            yield
        finally:
            self._thread.recording = before

    @property
    def is_recording(self) -> bool:
        """Whether this thread is recording a step."""
        return getattr(self._thread, "recording", False)

    @property
    def _names(self) -> Namespace:
        return np if self.is_recording else self._eager

    def __getattr__(self, name: str) -> object:
        if name in ("_eager", "_thread"):  # requested before the attributes exist: by copy, by pickle
            raise AttributeError(name)
        return getattr(self._names, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._eager), "clip", "sign", "recording"})

    def __repr__(self) -> str:
        return f"SwitchingNamespace({self._eager!r})"

    def clip(self, x: Array, /, min: Array | None = None, max: Array | None = None) -> Array:
        """Return min(max(x, min), max); None is no limit. The dtype is that of `x`."""
        if self.is_recording:
            return np.clip(x, min, max)
        for function, limit in ((self._eager.maximum, min), (self._eager.minimum, max)):
            if limit is not None:
                held = self._eager.astype(limit, x.dtype) if hasattr(limit, "dtype") else limit
                x = function(x, held)
        return x

    def sign(self, x: Array, /) -> Array:
        """Return -1, 0 or 1 in the dtype of `x`; NaN stays NaN."""
        if self.is_recording:
            return np.sign(x)
        names = self._eager
        positive, negative = names.astype(x > 0, x.dtype), names.astype(x < 0, x.dtype)
        signs = positive - negative
        return names.where(names.isnan(x), x, signs) if names.isdtype(x.dtype, "real floating") else signs
