// Sixteen of Q4_1; the layout is described in weight/q4_1.wgsl.
fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 2u) + sixteenth;
    let base = (at >> 1u) * 5u;
    let factors = unpack2x16float(words[base]);
    let nibbles = vec4<u32>(words[base + 1u], words[base + 2u], words[base + 3u], words[base + 4u]);
    let q = (nibbles >> vec4<u32>((at & 1u) * 4u)) & vec4<u32>(0x0f0f0f0fu);
    return bytes(q, factors.x, -factors.y);
}
