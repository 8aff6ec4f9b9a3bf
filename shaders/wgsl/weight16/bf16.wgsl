// Sixteen of bf16; the layout is described in weight/bf16.wgsl.
fn four_halves(q: vec2<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(q.x << 16u, q.x & 0xffff0000u, q.y << 16u, q.y & 0xffff0000u));
}

fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 1u) + sixteenth * 2u;
    let q = quads[at];
    let r = quads[at + 1u];
    return Sixteen(four_halves(q.xy), four_halves(q.zw), four_halves(r.xy), four_halves(r.zw), 1.0, 0.0);
}
