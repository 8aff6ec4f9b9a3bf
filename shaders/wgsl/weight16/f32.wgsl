// Sixteen of f32; the layout is described in weight/f32.wgsl.
fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * p.weight_stride + sixteenth * 4u;
    return Sixteen(bitcast<vec4<f32>>(quads[at]), bitcast<vec4<f32>>(quads[at + 1u]), bitcast<vec4<f32>>(quads[at + 2u]), bitcast<vec4<f32>>(quads[at + 3u]), 1.0, 0.0);
}
