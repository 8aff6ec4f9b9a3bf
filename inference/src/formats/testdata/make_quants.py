"""Makes quants.gguf: one small tensor of every weight type, and its values by gguf-py's own dequantiser.

usage: make_quants.py FILE [more]     (more: the types of more_quants.gguf)
"""
import sys
import numpy as np
import gguf
from gguf import GGMLQuantizationType as T, quants

out = sys.argv[1]
rng = np.random.default_rng(20240607)
w = gguf.GGUFWriter(out, "quants")
w.add_array("test.strings", ["a", "β", ""])
w.add_array("test.floats", [0.5, -1.25])
w.add_bool("test.flag", True)
expected = {}
USUAL = (T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_K, T.Q6_K)
MORE = (T.Q4_1, T.Q5_0, T.Q5_1, T.Q2_K, T.Q3_K, T.Q5_K, T.IQ4_NL, T.IQ4_XS)
# Places and numbers of f16 factors in blocks of types that gguf-py cannot quantise to.
FACTORS = {T.Q4_K: (0, 2), T.Q6_K: (208, 1), T.Q2_K: (80, 2), T.Q3_K: (108, 1), T.Q5_K: (0, 2), T.IQ4_NL: (0, 1), T.IQ4_XS: (0, 1)}
for t in MORE if "more" in sys.argv[2:] else USUAL:
    block, size = gguf.GGML_QUANT_SIZES[t]
    rows, cols = 3, 512
    if t in FACTORS:
        # Random blocks with sane scales do as well.
        raw = rng.integers(0, 256, (rows, cols // block * size), dtype=np.uint8)
        b = raw.reshape(-1, size)
        at, n = FACTORS[t]
        b[:, at:at + 2 * n] = rng.normal(0, 0.01, (len(b), n)).astype(np.float16).view(np.uint8)
    else:
        values = rng.normal(0, 1, (rows, cols)).astype(np.float32)
        raw = quants.quantize(values, t)
    name = t.name.lower()
    if t == T.F32:
        w.add_tensor(name, raw)
    elif t == T.F16:
        w.add_tensor(name, raw)
    else:
        w.add_tensor(name, raw, raw_dtype=t)
    expected[name] = quants.dequantize(raw, t).astype(np.float32)
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
# Only the sums of bits are kept: FNV-1a over the little-endian bytes, and the first values.
for name, values in expected.items():
    h = 0xcbf29ce484222325
    for byte in np.ascontiguousarray(values).tobytes():
        h = ((h ^ byte) * 0x100000001b3) & 0xffffffffffffffff
    print(f'        ("{name}", 0x{h:016x}, [{", ".join(f"0x{v:08x}" for v in values.view(np.uint32).ravel()[[0, 1, 700, 1535]])}]),')
