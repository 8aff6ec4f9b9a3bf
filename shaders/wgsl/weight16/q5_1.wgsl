// Sixteen of Q5_1; the layout is described in weight/q5_1.wgsl.
fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 2u) + sixteenth;
    let base = (at >> 1u) * 6u;
    let factors = unpack2x16float(words[base]);
    let nibbles = vec4<u32>(words[base + 2u], words[base + 3u], words[base + 4u], words[base + 5u]);
    let q = (nibbles >> vec4<u32>((at & 1u) * 4u)) & vec4<u32>(0x0f0f0f0fu);
    return bytes(q | fifths(words[base + 1u] >> ((at & 1u) * 16u)), factors.x, -factors.y);
}

// The fifth bits of sixteen values, from the lowest bits on.
fn fifths(bits: u32) -> vec4<u32> {
    let b = vec4<u32>(bits) >> vec4<u32>(0u, 4u, 8u, 12u);
    return ((b & vec4<u32>(1u)) << vec4<u32>(4u)) | ((b & vec4<u32>(2u)) << vec4<u32>(11u)) | ((b & vec4<u32>(4u)) << vec4<u32>(18u)) | ((b & vec4<u32>(8u)) << vec4<u32>(25u));
}
