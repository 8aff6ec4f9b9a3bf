// The experts of each row, by logit and then by number, and their weights: a lane for each row.
struct Params {
    grid_x: u32,
    grid_y: u32,
    rows: u32,
    experts: u32,
    used: u32,
    normalised: u32,
    x_base: u32,
    y_base: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

//#include grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group) * 64u + lane;
    if (row >= p.rows) {
        return;
    }
    let base = p.x_base + row * p.experts;
    let out = p.y_base + row * p.used * 2u;
    var largest = x[base];
    for (var i = 1u; i < p.experts; i += 1u) {
        largest = max(largest, x[base + i]);
    }
    var chosen_sum = 0.0;
    var last = largest;
    var last_index = 0u;
    for (var place = 0u; place < p.used; place += 1u) {
        // The next after the one before. Where logits are no numbers there may be none; any expert is then as good as another.
        var found = false;
        var best = 0.0;
        var index = place;
        for (var i = 0u; i < p.experts; i += 1u) {
            let logit = x[base + i];
            let is_after = place == 0u || logit < last || (logit == last && i > last_index);
            if (is_after && logit <= largest && (!found || logit > best)) {
                found = true;
                best = logit;
                index = i;
            }
        }
        last = best;
        last_index = index;
        let weight = exp(best - largest);
        chosen_sum += weight;
        y[out + place] = f32(index);
        y[out + p.used + place] = weight;
    }
    var sum = chosen_sum;
    if (p.normalised == 0u) {
        sum = 0.0;
        for (var i = 0u; i < p.experts; i += 1u) {
            sum += exp(x[base + i] - largest);
        }
    }
    for (var place = 0u; place < p.used; place += 1u) {
        y[out + p.used + place] = y[out + p.used + place] / sum;
    }
}
