// What a row is multiplied with by an RMS norm; its elements begin at `base`.
fn rms_scale(base: u32, lane: u32) -> f32 {
    var squares = 0.0;
    for (var i = lane; i < p.width; i += 64u) {
        squares += x[base + i] * x[base + i];
    }
    return 1.0 / sqrt(workgroup_sum(squares, lane) / f32(p.width) + p.eps);
}
