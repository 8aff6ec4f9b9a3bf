// Sixteen of Q2_K; the layout is described in weight/q2_k.wgsl.
fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 2u) + sixteenth;
    let base = (at >> 4u) * 21u;
    let sub = at & 15u;
    let nibbles = words[base + (sub >> 2u)] >> ((sub & 3u) * 8u);
    let start = base + 4u + (sub >> 3u) * 8u + (sub & 1u) * 4u;
    let pairs = vec4<u32>(words[start], words[start + 1u], words[start + 2u], words[start + 3u]);
    let q = (pairs >> vec4<u32>(((sub >> 1u) & 3u) * 2u)) & vec4<u32>(0x03030303u);
    let factors = unpack2x16float(words[base + 20u]);
    return bytes(q, factors.x * f32(nibbles & 15u), factors.y * f32((nibbles >> 4u) & 15u));
}
