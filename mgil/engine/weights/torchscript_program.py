"""The program in a TorchScript file, read before PyTorch compiles it.

PyTorch runs part of that code while loading, and the code may call any operator of PyTorch, of which some write and
read files, and any operator that a loaded library has registered. So the code is taken apart into its words, and a
file is refused that names an operator beyond those of detectors, or that is written in a way in which PyTorch never
writes code. It is a list of what is allowed, and still no sandbox: what operators do with odd arguments is up to them.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

from mgil.engine.weights.archive import PRINTED, ZIP_ERRORS, check_archive

MOST_CODE_BYTES = 2 << 20  # several times the code of the largest detectors
_RECORDS = re.compile(
    r"(data|constants|traced_inputs)(\.pkl|/\w+)|version|byteorder|\.format_version|\.storage_alignment"
    r"|\.data/serialization_id|code/[\w./]+\.(py|debug_pkl)|extra/.+",
    re.ASCII,
)
_CLASSES = re.compile(rb"torch\W+classes\b")  # objects of C++ libraries
# What PyTorch writes: texts in double quotes, words, numbers and signs; no backslash, comment or other white space.
_TOKENS = re.compile(
    r'"[ !#-\[\]-~]*"|[A-Za-z_][A-Za-z_0-9]*|[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|[ \n]+|[!$-&(-/:-@\[\]^`{-~]'
)
_FORBIDDEN = {"save", "from_file", "classes", "rpc_sync", "rpc_async", "rpc_remote", "fork", "awaitable"}
_ATEN = """
    Bool Complex Float FloatImplicit Int IntImplicit ScalarImplicit __and__ __contains__ __derive_index __getitem__
    __is__ __isnot__ __not__ __or__ __range_length __xor__ _convolution _set_item _shape_as_tensor _softmax
    _upsample_nearest_exact2d
    abs adaptive_avg_pool2d adaptive_max_pool2d add add_ addmm alias all amax amin any append arange argmax argmin
    argsort avg_pool2d baddbmm batch_norm bitwise_and bitwise_not bitwise_or bmm broadcast_tensors cat ceil celu chunk
    clamp clamp_ clamp_max clamp_max_ clamp_min clamp_min_ clone concat constant_pad_nd contiguous conv1d conv2d
    conv_transpose2d copy_ cos cumsum detach device dim div div_ dropout dropout_ einsum elu elu_ empty empty_like eq
    exp exp_ expand expand_as expm1 extend eye feature_dropout fill_ flatten flip floor floor_ floor_divide floordiv
    format frobenius_norm full full_like gather ge gelu glu group_norm gt hardsigmoid hardsigmoid_ hardswish hardswish_
    hardtanh hardtanh_ index index_put index_put_ index_select insert instance_norm is_floating_point isfinite isinf
    isnan item keys layer_norm le leaky_relu leaky_relu_ len linalg_vector_norm linear linspace list log log1p
    log_sigmoid log_softmax logical_and logical_not logical_or logsumexp lt masked_fill masked_fill_ masked_select
    matmul max max_pool2d maximum mean meshgrid min minimum mish mish_ mm movedim mul mul_ narrow ne neg new_empty
    new_full new_ones new_zeros nonzero nonzero_numpy norm numel one_hot ones ones_like pad permute pixel_shuffle
    pixel_unshuffle pop pow prelu prod reciprocal reflection_pad2d relu relu6 relu6_ relu_ remainder repeat
    repeat_interleave replication_pad2d reshape reshape_as roll round rsqrt rsub scaled_dot_product_attention scatter
    scatter_ select selu selu_ sigmoid sigmoid_ sign silu silu_ sin size slice softmax softplus sort split
    split_with_sizes sqrt squeeze squeeze_ stack std str stride sub sub_ sum t tan tanh tanh_ tensor tensor_split tile
    to topk transpose tril triu true_divide type_as unbind unflatten unfold unsqueeze unsqueeze_ upsample_bicubic2d
    upsample_bilinear2d upsample_nearest2d values var view view_as where zero_ zeros zeros_like
"""
_PRIM = "NumToTensor data device dtype is_cuda layout max min type"
_OPERATORS = {
    *(f"{prefix}.{name}" for name in _ATEN.split() for prefix in ("torch", "ops.aten")),
    *(f"ops.prim.{name}" for name in _PRIM.split()),
    "ops.torchvision.nms",
}
_ROOTS = {"torch": 3, "ops": 5}  # and how many words and dots are the name of an operator


def check_program(path: Path) -> None:
    """Raise ValueError for a file that is no TorchScript, or whose code names an operator that no detector needs."""
    try:
        check_archive(path, pickles=("data", "constants"), compressed=PRINTED)
        printed = _printed_records(path)
        codes = [content.decode("ascii") for name, content in printed.items() if name.lower().endswith(".py")]
    except (*ZIP_ERRORS, ValueError) as error:
        reason = " ".join(str(error).partition("\n")[0].split())[:200] or type(error).__name__
        raise ValueError(f"{path}: no TorchScript file, or a damaged one ({reason})") from error
    if sum(map(len, codes)) > MOST_CODE_BYTES:
        raise ValueError(f"{path}: refused, its program has more than {MOST_CODE_BYTES >> 20} MiB of code")
    programs = [list(_tokens(code)) for code in codes]
    methods = {name for tokens in programs for word, name in zip(tokens, tokens[1:], strict=False) if word == "def"}
    strange = next((name for tokens in programs for name in _strange(tokens, methods)), None)
    if any(_CLASSES.search(content) for content in printed.values()):
        strange = "torch.classes"
    if strange is not None:
        raise ValueError(f"{path}: refused, its program uses {strange[:80]!r}, which no detector needs")


def _printed_records(path: Path) -> dict[str, bytes]:
    """Code and pickles, as PyTorch's own reader sees them; ValueError where Python's sees others."""
    reader = torch._C.PyTorchFileReader(str(path))
    names = reader.get_all_records()
    with zipfile.ZipFile(path) as archive:
        folder = archive.namelist()[0].partition("/")[0]
        if sorted(f"{folder}/{name}" for name in names) != sorted(archive.namelist()):
            raise ValueError("its entries have other names for every reader")
        unknown = [name for name in names if not _RECORDS.fullmatch(name)]
        if unknown:
            raise ValueError(f"its entry {unknown[0][:80]!r} is none of TorchScript")
        printed = {name: reader.get_record(name) for name in names if name.endswith(PRINTED)}
        if any(archive.read(f"{folder}/{name}") != content for name, content in printed.items()):
            raise ValueError("its entries have other contents for every reader")
    return printed


def _tokens(code: str) -> Iterator[str]:
    """The parts of the code without the spaces between them; a character out of place comes as it is."""
    position = 0
    while position < len(code):
        match = _TOKENS.match(code, position)
        token = match[0] if match else code[position]
        position += len(token)
        if not token.isspace() or match is None:
            yield token


def _strange(tokens: list[str], methods: set[str]) -> Iterator[str]:
    """What no detector needs.

    Operators are reached as `torch.X` and `ops.LIBRARY.X`; by these two words under another name, so they stand
    nowhere alone; as the method of a tensor; and by getattr with a text, which PyTorch joins from texts in a row.

    Args:
        tokens: Of one file of code.
        methods: Names that the program defines.
    """
    looked_at = set()  # where names of operators end
    for index, token in enumerate(tokens):
        before, after = tokens[index - 1] if index else "", tokens[index + 1 : index + 2]
        forbidden = _FORBIDDEN.intersection(re.findall(r"\w+", token))
        if not _TOKENS.fullmatch(token) or (token.startswith('"') and before.startswith('"')):
            yield token
        elif forbidden:
            yield forbidden.pop()
        elif token in _ROOTS and before != ".":
            parts = tokens[index : index + _ROOTS[token]]
            name = "".join(parts) if after == ["."] else token
            looked_at.add(index + len(parts) - 1)
            if name not in _OPERATORS:
                yield name
        elif before == "." and after == ["("] and index not in looked_at and not _is_method(token, methods):
            yield token


def _is_method(name: str, methods: set[str]) -> bool:
    """Whether the program has it; a trace names further calls of a layer forward1, forward2, ..."""
    return name in methods or re.fullmatch(r"forward[0-9]*", name) is not None
