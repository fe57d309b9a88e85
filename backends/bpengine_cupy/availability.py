"""Why CuPy cannot run here: without a driver, CUDA's own message wrongly says that its version is too old."""

from __future__ import annotations

import importlib.util
from importlib.metadata import distributions
from types import ModuleType

from bpengine import extras
from bpengine.backend import Availability
from bpengine.i18n.counted_nouns import count_of


def check() -> Availability:
    """Return the first of: not installed, version mismatch, no driver, no device, ready."""
    if importlib.util.find_spec("cupy") is None:
        return Availability("not installed", "the package 'cupy' is not installed.", extras.cure("cuda"))
    wheels = installed_wheels()
    if len(wheels) > 1:
        keep = f"Keep one: pip uninstall {' '.join(wheels)}, then: {extras.install_command('cuda')}"
        return Availability("version mismatch", f"several CuPy packages are installed: {', '.join(wheels)}.", keep)
    try:
        runtime = _import_runtime()
    except ImportError as error:
        return Availability(
            "version mismatch", f"CuPy is installed but cannot be imported: {error}.", extras.cure("cuda")
        )
    status = check_runtime(runtime)
    problem = compiler_problem() if status.ready else None
    if problem is None:
        return status
    detail = f"NVRTC, with which CuPy compiles all that it runs, cannot be loaded: {problem}."
    return Availability("not installed", detail, extras.cure("cuda"))


def compiler_problem() -> str | None:
    """Say why NVRTC cannot be loaded: CuPy is imported without it, and its first operation fails."""
    try:
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()
    except (ImportError, OSError, RuntimeError) as error:
        return (str(error).splitlines() or [repr(error)])[0].rstrip(".")
    return None


def check_runtime(runtime: ModuleType) -> Availability:
    """Check CUDA's runtime interface: `driverGetVersion`, `runtimeGetVersion`, `getDeviceCount`, `CUDARuntimeError`."""
    driver, library = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver == 0:
        cure = "Install NVIDIA's driver (nvidia-smi shows whether it works), or use backend='numpy' or 'jax'."
        return Availability("no driver", "no NVIDIA driver was found on this machine.", cure)
    if driver // 1000 < library // 1000:
        cure = f"Update the driver, or install the CuPy built for CUDA {driver // 1000}.x."
        detail = f"the driver supports CUDA {version(driver)}, CuPy was built for CUDA {version(library)}."
        return Availability("version mismatch", detail, cure)
    try:
        devices = runtime.getDeviceCount()
    except runtime.CUDARuntimeError:
        devices = 0
    if devices == 0:
        cure = "Check nvidia-smi and CUDA_VISIBLE_DEVICES, or use backend='numpy' or 'jax'."
        return Availability("no device", f"the driver (CUDA {version(driver)}) shows no GPU.", cure)
    return Availability(
        "ready", f"CUDA {version(library)}, driver for CUDA {version(driver)}, {count_of(devices, 'GPU')}"
    )


def version(number: int) -> str:
    """Convert CUDA's 13020 to "13.2"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def installed_wheels() -> list[str]:
    """Return the installed distributions that contain a `cupy` package; more than one of them conflict."""
    names = {str(d.metadata["Name"]).lower() for d in distributions() if d.metadata["Name"]}
    return sorted(n for n in names if n == "cupy" or n.startswith(("cupy-cuda", "cupy-rocm")))


def _import_runtime() -> ModuleType:
    from cupy_backends.cuda.api import runtime

    module: ModuleType = runtime
    return module
