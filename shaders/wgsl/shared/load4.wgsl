// Four neighbours of a row of `x` that begins at element `base` and has `len` elements; zeros beyond its end.
fn load4(base: u32, k: u32, len: u32) -> vec4<f32> {
    let at = base + k;
    if (k + 4u <= len) {
        return vec4<f32>(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
    }
    var v = vec4<f32>(0.0);
    if (k < len) { v.x = x[at]; }
    if (k + 1u < len) { v.y = x[at + 1u]; }
    if (k + 2u < len) { v.z = x[at + 2u]; }
    return v;
}
