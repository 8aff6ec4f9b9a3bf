// Sixteen of Q4_K; the layout is described in weight/q4_k.wgsl.
fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 2u) + sixteenth;
    let base = (at >> 4u) * 9u;
    let sub = (at >> 1u) & 7u;
    let head = quads[base];
    let factors = unpack2x16float(head.x);
    let scales = (head.yzw >> vec3<u32>((sub & 3u) * 8u)) & vec3<u32>(255u);
    let scale = select(scales.x & 63u, (scales.z & 15u) | ((scales.x >> 2u) & 48u), sub >= 4u);
    let minimum = select(scales.y & 63u, (scales.z >> 4u) | ((scales.y >> 2u) & 48u), sub >= 4u);
    let q = (quads[base + 1u + (sub >> 1u) * 2u + (at & 1u)] >> vec4<u32>((sub & 1u) * 4u)) & vec4<u32>(0x0f0f0f0fu);
    return bytes(q, factors.x * f32(scale), factors.y * f32(minimum));
}
