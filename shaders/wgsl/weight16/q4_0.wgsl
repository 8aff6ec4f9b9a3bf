// Sixteen of Q4_0; the layout is described in weight/q4_0.wgsl.
fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 2u) + sixteenth;
    let block = at >> 1u;
    let scale = scale_of(block);
    let q = (quads[block] >> vec4<u32>((at & 1u) * 4u)) & vec4<u32>(0x0f0f0f0fu);
    return bytes(q, scale, 8.0 * scale);
}
