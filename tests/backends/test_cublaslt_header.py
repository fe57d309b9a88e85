"""What the calls of cuBLASLt stand on: a table of facts about its header, held against our code and against the header.

The header comes with NVIDIA's wheels and with the CUDA toolkit; where neither is installed, the table alone is compared. The
table was read from the headers of CUDA 12.6 and 13: a value that NVIDIA changed would show where one of them is found.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, NoReturn

import pytest
from bpengine_cupy.cuda_target.cublaslt import library
from bpengine_cupy.cuda_target.cublaslt.library import Algorithm, Candidate, CublasLt, CublasLtError, DescribedProduct
from bpengine_cupy.cuda_target.cublaslt.products import Epilogue, MatrixProduct, Operand

VALUES = {
    "CUDA_R_32F": library.DATA_TYPES["f4"],
    "CUDA_R_64F": library.DATA_TYPES["f8"],
    "CUDA_R_16BF": library.DATA_TYPES["bf16"],
    "CUBLAS_COMPUTE_32F": library.COMPUTE_TYPES["float32"],
    "CUBLAS_COMPUTE_64F": library.COMPUTE_TYPES["float64"],
    "CUBLAS_COMPUTE_32F_FAST_16BF": library.COMPUTE_TYPES["bfloat16"],
    "CUBLAS_COMPUTE_32F_FAST_TF32": library.COMPUTE_TYPES["tf32"],
    "CUBLAS_OP_N": 0,
    "CUBLAS_OP_T": 1,
    "CUBLAS_STATUS_SUCCESS": 0,
    "CUBLASLT_MATMUL_DESC_TRANSA": library.TRANSPOSE_A,
    "CUBLASLT_MATMUL_DESC_TRANSB": library.TRANSPOSE_B,
    "CUBLASLT_MATMUL_DESC_EPILOGUE": library.EPILOGUE,
    "CUBLASLT_MATMUL_DESC_BIAS_POINTER": library.VECTOR,
    "CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER": library.MASK,
    "CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD": library.MASK_PITCH,
    "CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE": library.VECTOR_TYPE,
    "CUBLASLT_EPILOGUE_RELU_BIAS": library.EPILOGUES["relu_bias"],
    "CUBLASLT_EPILOGUE_RELU_AUX_BIAS": library.EPILOGUES["relu_aux_bias"],
    "CUBLASLT_EPILOGUE_DRELU": library.EPILOGUES["drelu"],
    "CUBLASLT_EPILOGUE_DRELU_BGRAD": library.EPILOGUES["drelu_bgrad"],
    "CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES": library.MOST_WORKSPACE,
    "CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK": library.REDUCTION_SCHEMES,
    "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES": library.ALIGNMENT_A,
    "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES": library.ALIGNMENT_A + 1,
    "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES": library.ALIGNMENT_A + 2,
    "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES": library.ALIGNMENT_A + 3,
    "CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE": library.ORDERED_REDUCTIONS & 2,
    "CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE": library.ORDERED_REDUCTIONS & 4,
    "CUBLASLT_REDUCTION_SCHEME_INPLACE": 1,
}
FACTS = {
    "CUDA_R_32F": 0, "CUDA_R_64F": 1, "CUDA_R_16BF": 14, "CUBLAS_COMPUTE_32F": 68, "CUBLAS_COMPUTE_64F": 70,
    "CUBLAS_COMPUTE_32F_FAST_16BF": 75, "CUBLAS_COMPUTE_32F_FAST_TF32": 77, "CUBLAS_OP_N": 0, "CUBLAS_OP_T": 1,
    "CUBLAS_STATUS_SUCCESS": 0, "CUBLASLT_MATMUL_DESC_TRANSA": 3, "CUBLASLT_MATMUL_DESC_TRANSB": 4,
    "CUBLASLT_MATMUL_DESC_EPILOGUE": 7, "CUBLASLT_MATMUL_DESC_BIAS_POINTER": 8,
    "CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER": 11, "CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD": 12,
    "CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE": 26, "CUBLASLT_EPILOGUE_RELU_BIAS": 6, "CUBLASLT_EPILOGUE_RELU_AUX_BIAS": 134,
    "CUBLASLT_EPILOGUE_DRELU": 136, "CUBLASLT_EPILOGUE_DRELU_BGRAD": 152, "CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES": 1,
    "CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK": 3, "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES": 5,
    "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES": 6, "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES": 7,
    "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES": 8, "CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE": 2,
    "CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE": 4, "CUBLASLT_REDUCTION_SCHEME_INPLACE": 1,
}  # fmt: skip
# attributes: the type of their value, as the header's comments say it
TYPES = {
    "CUBLASLT_MATMUL_DESC_TRANSA": "int32_t",
    "CUBLASLT_MATMUL_DESC_TRANSB": "int32_t",
    "CUBLASLT_MATMUL_DESC_EPILOGUE": "uint32_t",
    "CUBLASLT_MATMUL_DESC_BIAS_POINTER": "void *",
    "CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER": "void *",
    "CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD": "int64_t",
    "CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE": "int32_t",
    "CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES": "uint64_t",
    "CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK": "uint32_t",
    "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES": "uint32_t",
    "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES": "uint32_t",
    "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES": "uint32_t",
    "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES": "uint32_t",
}
SIZES = {"int32_t": 4, "uint32_t": 4, "int64_t": 8, "uint64_t": 8, "void *": 8, "const void *": 8}
RESULT = [("cublasLtMatmulAlgo_t", 1), ("size_t", 1), ("cublasStatus_t", 1), ("float", 1), ("int", 4)]
HANDLES = "cublasLtHandle_t|cublasLtMatmulDesc_t|cublasLtMatrixLayout_t|cublasLtMatmulPreference_t|cudaStream_t"
FUNCTIONS = {  # p: a pointer or a handle, i: an int or an enum, q: 64 bits; of the functions that are called, in order
    "Create": "p",
    "MatmulDescCreate": "pii",
    "MatmulDescSetAttribute": "pipq",
    "MatrixLayoutCreate": "piqqq",
    "MatmulPreferenceCreate": "p",
    "MatmulPreferenceSetAttribute": "pipq",
    "MatmulAlgoGetHeuristic": "pppppppipp",
    "Matmul": "pppppppppppppp" + "qp",
}
PRODUCT = MatrixProduct(m=3, n=4, k=5, a=Operand(0, False, 3), b=Operand(1024, True, 4), d=2048, dtype="f4")
MASKED = MatrixProduct(
    m=3, n=4, k=5, a=Operand(0, False, 3), b=Operand(1024, True, 4), d=2048, dtype="f4",
    epilogue=Epilogue(name="relu_aux_bias", vector=512, mask=4096, pitch=128),
)  # fmt: skip


class Recorder:
    """A library that notes what its functions are called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.calls.append((name.removeprefix("cublasLt"), arguments))
            return 0

        return call

    def called(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for function, arguments in self.calls if function == name]


@pytest.fixture
def calls() -> Recorder:
    """Return every call that a product makes, from its description to its launch."""
    recorder: Any = Recorder()
    lt = CublasLt(recorder).open()
    described = DescribedProduct(lt, MASKED, 1 << 20, "float32")
    described.candidates()
    described.launch(0, 1 << 21)
    return recorder


def kind(argument: Any) -> str:
    """Return how an argument is passed: "p", "i" or "q"."""
    if isinstance(argument, (ctypes.c_void_p, ctypes.Array)) or type(argument).__name__ == "CArgObject":
        return "p"
    return {4: "i", 8: "q"}[ctypes.sizeof(argument)]


def test_the_code_agrees_with_the_table() -> None:
    assert VALUES == FACTS
    assert (ctypes.sizeof(Algorithm), ctypes.sizeof(Candidate)) == (64, 96)
    offsets = [getattr(Candidate, name).offset for name, _ in Candidate._fields_]
    assert offsets == [0, 64, 72, 76, 80]


def test_values_have_the_size_that_an_attribute_takes(calls: Recorder) -> None:
    seen = {}
    for function, prefix in (("MatmulDescSetAttribute", "DESC_"), ("MatmulPreferenceSetAttribute", "PREF_")):
        for _, attribute, _, size in calls.called(function):
            name = next(n for n, value in FACTS.items() if f"MATMUL_{prefix}" in n and value == attribute.value)
            seen[name] = size.value
    assert seen == {name: SIZES[what] for name, what in TYPES.items()}


def test_arguments_are_passed_in_the_functions_order(calls: Recorder) -> None:
    for name, form in FUNCTIONS.items():
        assert {"".join(map(kind, arguments)) for arguments in calls.called(name)} == {form}, name


def headers() -> Iterator[Path]:
    """Yield the folders in which NVIDIA's headers may lie, those of wheels first."""
    try:
        import nvidia
    except ImportError:
        pass
    else:
        for root in map(Path, nvidia.__path__):
            yield from sorted(path.parent for path in root.glob("*/include/cublasLt.h"))
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / "include"
    yield Path("/usr/local/cuda/include")


def lack(request: pytest.FixtureRequest, reason: str) -> NoReturn:
    required = "cupy" in request.config.getoption("--require-backend")
    (pytest.fail if required else pytest.skip)(reason)
    raise AssertionError


@pytest.fixture(scope="module")
def header(request: pytest.FixtureRequest) -> str:
    """Return the text of the headers that declare what is used; skip without them, or fail where CuPy is required."""
    folder = next((folder for folder in headers() if (folder / "cublasLt.h").is_file()), None)
    if folder is None:
        lack(request, "no cublasLt.h: neither NVIDIA's wheel of cuBLAS nor the CUDA toolkit is installed")
    names = ("cublasLt.h", "cublas_api.h", "library_types.h")
    return "\n".join((folder / name).read_text() for name in names if (folder / name).is_file())


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)


def enumerators(text: str) -> dict[str, int]:
    """Return the values of the enumerators of a header that have one."""
    known: dict[str, int] = {}
    for name, value in re.findall(r"\b((?:CUBLAS|CUDA_R)\w+)\s*=\s*([^,}]+)", without_comments(text)):
        parts = [part.strip(" ()\n") for part in value.split("|")]
        if all(part in known or re.fullmatch(r"-?\d\w*", part) for part in parts):
            known[name] = reduce(or_, (known[part] if part in known else int(part, 0) for part in parts))
    return known


def test_the_table_agrees_with_the_header(header: str) -> None:
    stated = enumerators(header)
    missing = {name for name in FACTS if name not in stated and name.startswith(("CUBLASLT", "CUBLAS_"))}
    assert not missing
    assert {name: stated[name] for name in FACTS if name in stated} == {n: v for n, v in FACTS.items() if n in stated}


def test_an_attribute_has_the_type_that_the_headers_comment_says(header: str) -> None:
    for name, wanted in TYPES.items():
        comment = re.search(r"/\*\*((?:(?!\*/).)*)\*/\s*" + name + r"\s*=", header, re.S)
        assert comment, name
        said = re.findall(r"\b(u?int(?:8|32|64)_t|void \*)", comment[1])
        assert said, name
        assert {SIZES[each] for each in said} == {SIZES[wanted]}, name


def test_structures_have_the_headers_fields(header: str) -> None:
    text = without_comments(header)
    algorithm = re.search(r"typedef struct\s*{\s*uint64_t data\[(\d+)\];\s*}\s*cublasLtMatmulAlgo_t;", text)
    assert algorithm
    assert int(algorithm[1]) * 8 == ctypes.sizeof(Algorithm)
    result = re.search(r"typedef struct\s*{([^}]*)}\s*cublasLtMatmulHeuristicResult_t;", text)
    assert result
    fields = re.findall(r"(\w+)\s+\w+(?:\[(\d+)\])?;", result[1])
    assert [(what, int(count or 1)) for what, count in fields] == RESULT


def test_functions_take_the_headers_parameters(header: str) -> None:
    text = without_comments(header)
    for name, form in FUNCTIONS.items():
        declared = re.search(rf"\bcublasLt{name}\s*\(([^)]*)\)\s*;", text)
        assert declared, name
        kinds = ""
        for parameter in declared[1].split(","):
            if "*" in parameter or "[" in parameter or re.search(rf"\b({HANDLES})\b", parameter):
                kinds += "p"
            else:
                kinds += "q" if re.search(r"\b(size_t|u?int64_t)\b", parameter) else "i"
        assert kinds == form, name


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> CublasLt:
    """Return the library itself, which describes products without a driver; skip without it, or fail as `header` does."""
    try:
        return CublasLt(library.load_library())
    except (OSError, ImportError, RuntimeError) as error:  # of the loader, or of NVIDIA's finder of libraries
        lack(request, f"cuBLASLt is not installed: {str(error).splitlines()[0]}")


@pytest.mark.parametrize("product", [PRODUCT, MASKED], ids=["plain", "epilogue"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "bf16"])
def test_the_library_itself_takes_our_descriptions(real: CublasLt, product: MatrixProduct, dtype: str) -> None:
    own = replace(product, dtype="f4" if dtype == "bf16" else dtype, rounded=dtype == "bf16")
    described = DescribedProduct(real, own, 1 << 20, "float64" if dtype == "f8" else "float32")
    if product.epilogue is None:
        return
    for attribute, wanted in (
        (library.EPILOGUE, 134), (library.VECTOR, (1 << 20) + 512), (library.MASK, (1 << 20) + 4096),
        (library.MASK_PITCH, 128), (library.TRANSPOSE_B, 1),
    ):  # fmt: skip
        value, written = ctypes.c_uint64(), ctypes.c_size_t()
        size = {library.EPILOGUE: 4, library.TRANSPOSE_B: 4}.get(attribute, 8)
        where = (ctypes.c_int(attribute), ctypes.byref(value), ctypes.c_size_t(size), ctypes.byref(written))
        real.call("MatmulDescGetAttribute", described.description, *where)
        assert (value.value, written.value) == (wanted, size)


def test_the_library_itself_refuses_a_value_of_another_size(real: CublasLt) -> None:
    described = DescribedProduct(real, PRODUCT, 1 << 20, "float32")
    with pytest.raises(CublasLtError, match="status 7"):
        described._set(library.TRANSPOSE_A, ctypes.c_int64(1))
