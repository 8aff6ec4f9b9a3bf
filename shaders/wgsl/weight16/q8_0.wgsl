// Sixteen of Q8_0; the layout is described in weight/q8_0.wgsl.
fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 2u) + sixteenth;
    let q = quads[at];
    return Sixteen(vec4<f32>(unpack4xI8(q.x)), vec4<f32>(unpack4xI8(q.y)), vec4<f32>(unpack4xI8(q.z)), vec4<f32>(unpack4xI8(q.w)), scale_of(at >> 1u), 0.0);
}
