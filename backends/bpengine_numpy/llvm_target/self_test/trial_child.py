"""The program of a self-test in a separate process, see `trial`: NumPy and ctypes only, so that it starts fast.

`python trial_child.py SETTINGS`, as JSON. Prints a line for each finished part; for a failure with the reason.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # NumPy is imported when a test runs
    from bpengine_steps.ir import HostArray

ROUNDS = 20
SIZE = 67  # elements: vectorised loops have a remainder


def main() -> None:
    """Run both parts."""
    settings = json.loads(sys.argv[1])
    sys.path[:] = settings["path"]
    import_module("numpy")  # first report that it can be imported
    _say("started", "")
    for name, part in (("loops", loops), ("queue", queue)):
        if settings.get(name):
            try:
                _say(name, part(settings[name]))
            except Exception as error:
                _say(name, f"{type(error).__name__}: {error}")
    os._exit(0)  # threads of the library may still be running


def _say(what: str, trouble: str) -> None:
    print(json.dumps([what, trouble]), flush=True)


def loops(settings: dict[str, Any]) -> str:
    """Call NumPy's loops by address; return what is wrong with the results, "" if nothing is."""
    import numpy as np

    for dtype in ("float32", "float64"):
        x, y = np.linspace(0.3, 2.1, SIZE, dtype=dtype), np.linspace(1.7, 0.9, SIZE, dtype=dtype)
        a, b = x[:15].reshape(3, 5), y[:20].reshape(5, 4)
        for name in settings["unary"]:
            if _elementwise(settings, name, x) != getattr(np, name)(x).tobytes():
                return f"np.{name} of {dtype} gives other numbers"
        for name in settings["binary"]:
            if _elementwise(settings, name, x, y) != getattr(np, name)(x, y).tobytes():
                return f"np.{name} of {dtype} gives other numbers"
            if _reduced(settings, name, x) != getattr(np, name).reduce(x).tobytes():
                return f"np.{name}.reduce of {dtype} gives other numbers"
        item, product = x.itemsize, np.empty((3, 4), dtype)
        steps = [0, 0, 0, 5 * item, item, 4 * item, item, 4 * item, item]
        _call(settings, "matmul", [a, b, product], [1, 3, 5, 4], steps)
        if product.tobytes() != (a @ b).tobytes():
            return f"np.matmul of {dtype} gives other numbers"
    return ""


def _elementwise(settings: dict[str, Any], name: str, *operands: HostArray) -> bytes:
    import numpy as np

    out = np.empty_like(operands[0])
    _call(settings, name, [*operands, out], [out.size], [out.itemsize] * (len(operands) + 1))
    return bytes(out.data)


def _reduced(settings: dict[str, Any], name: str, x: HostArray) -> bytes:
    import numpy as np

    skip = int(name != "add")
    out = x[:1].copy() if skip else np.zeros(1, x.dtype)
    _call(settings, name, [out, x[skip:], out], [x.size - skip], [0, x.itemsize, 0])
    return bytes(out.data)


def _call(settings: dict[str, Any], name: str, arrays: list[HostArray], dims: list[int], steps: list[int]) -> None:
    import numpy as np

    ufunc: Any = getattr(np, name)
    _, capsule = ufunc._resolve_dtypes_and_context((*(a.dtype for a in arrays[:-1]), None))
    ufunc._get_strided_loop(capsule)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    info = (ctypes.c_void_p * 3).from_address(pointer(capsule, settings["capsule"].encode()))
    loop, context, auxiliary = (info[k] for k in settings["order"])
    whole, kind = ctypes.c_ssize_t, [ctypes.c_void_p] * 5
    data = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    ctypes.CFUNCTYPE(ctypes.c_int, *kind)(loop)(
        context, data, (whole * len(dims))(*dims), (whole * len(steps))(*steps), auxiliary
    )


def queue(settings: dict[str, Any]) -> str:
    """Give jobs to the library's threads between products; return what is wrong, "" if nothing is."""
    import numpy as np

    library = ctypes.CDLL(settings["library"])
    if settings["set_threads"]:
        getattr(library, settings["set_threads"])(settings["jobs"])
    execute = getattr(library, settings["execute"])
    execute.argtypes, execute.restype = (ctypes.c_long, ctypes.c_void_p), ctypes.c_int
    results, square = np.zeros(settings["jobs"], np.int64), np.eye(300)

    def work(arguments: int) -> None:
        results[ctypes.c_int64.from_address(arguments).value] += 1

    routine = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(work)
    numbers = np.arange(settings["jobs"])
    for done in range(1, ROUNDS + 1):
        jobs = np.zeros((settings["jobs"], settings["words"]), np.int64)
        jobs[:, settings["routine"]] = ctypes.cast(routine, ctypes.c_void_p).value or 0
        jobs[:, settings["arguments"]] = numbers.ctypes.data + numbers.itemsize * numbers
        jobs[:-1, settings["next"]] = [job.ctypes.data for job in jobs[1:]]
        execute(settings["jobs"], jobs.ctypes.data)
        if (results != done).any():
            return f"of {settings['jobs']} jobs, each to be run once, some were run {results.min() - done + 1} times"
        if not (square @ square == square).all():
            return "a product after it is wrong"
    return ""


if __name__ == "__main__":
    main()
