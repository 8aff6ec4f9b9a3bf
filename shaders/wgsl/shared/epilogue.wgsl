// What happens to each element before it is written. `at` is its place in `other`, which lies as the result does.
fn finish(value: f32, at: u32) -> f32 {
    var v = value;
    if (p.before != 9u) {
        v = apply_function(p.before, v, p.before_a, p.before_b);
    }
    if (p.combine == 2u) {
        v *= other[at];
    } else if (p.combine != 0u) {
        v += other[at];
    }
    if (p.after != 9u) {
        v = apply_function(p.after, v, p.after_a, p.after_b);
    }
    return v;
}
