// Sixteen values: a value of `a` to `d` times the scale, less the minimum.
struct Sixteen {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
    scale: f32,
    minimum: f32,
}

fn bytes(q: vec4<u32>, scale: f32, minimum: f32) -> Sixteen {
    return Sixteen(vec4<f32>(unpack4xU8(q.x)), vec4<f32>(unpack4xU8(q.y)), vec4<f32>(unpack4xU8(q.z)), vec4<f32>(unpack4xU8(q.w)), scale, minimum);
}

// The f16 scale of a block, from the section of scales.
fn scale_of(block: u32) -> f32 {
    let pair = unpack2x16float(words[p.weight_scales + (block >> 1u)]);
    return select(pair.x, pair.y, (block & 1u) == 1u);
}
//#weight

fn product(w: Sixteen, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> f32 {
    return w.scale * (dot(w.a, a) + dot(w.b, b) + dot(w.c, c) + dot(w.d, d));
}
