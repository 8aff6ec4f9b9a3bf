// Sixteen of f16; the layout is described in weight/f16.wgsl.
fn four_halves(q: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(q.x), unpack2x16float(q.y));
}

fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 1u) + sixteenth * 2u;
    let q = quads[at];
    let r = quads[at + 1u];
    return Sixteen(four_halves(q.xy), four_halves(q.zw), four_halves(r.xy), four_halves(r.zw), 1.0, 0.0);
}
