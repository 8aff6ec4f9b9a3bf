// Sixteen of Q5_0; the layout is described in weight/q5_0.wgsl.
fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 2u) + sixteenth;
    let block = at >> 1u;
    let base = block * 5u;
    let scale = scale_of(block);
    let nibbles = vec4<u32>(words[base + 1u], words[base + 2u], words[base + 3u], words[base + 4u]);
    let q = (nibbles >> vec4<u32>((at & 1u) * 4u)) & vec4<u32>(0x0f0f0f0fu);
    return bytes(q | fifths(words[base] >> ((at & 1u) * 16u)), scale, 16.0 * scale);
}

// The fifth bits of sixteen values, from the lowest bits on.
fn fifths(bits: u32) -> vec4<u32> {
    let b = vec4<u32>(bits) >> vec4<u32>(0u, 4u, 8u, 12u);
    return ((b & vec4<u32>(1u)) << vec4<u32>(4u)) | ((b & vec4<u32>(2u)) << vec4<u32>(11u)) | ((b & vec4<u32>(4u)) << vec4<u32>(18u)) | ((b & vec4<u32>(8u)) << vec4<u32>(25u));
}
