// A token for each row, drawn from what is told of it: a workgroup for a row, a lane for a part. Layouts: `graph/candidates.rs`, `graph/draw.rs`.
struct Params {
    grid_x: u32,
    grid_y: u32,
    rows: u32,
    x_base: u32,
    settings_base: u32,
    y_base: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> settings: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

//#include grid

const PARTS = 64u;
const KEPT = 16u;
const PART_WORDS = 40u;
const ROW_WORDS = 2816u; // PARTS * PART_WORDS and 256 that were asked for
const DRAW_WORDS = 8u;
const MOST = 256u; // MOST_DRAWN_FROM
const LOWEST = -3.4028234663852886e38;
const NO_TOKEN = 0xffffffffu;

var<workgroup> lane_bests: array<f32, 64>;
var<workgroup> lane_tokens: array<u32, 64>;
var<workgroup> eighth_bests: array<f32, 8>;
var<workgroup> eighth_tokens: array<u32, 8>;
// Of each part: the sum of its weights at temperature 1 and at that of the row.
var<workgroup> part_sums: array<vec2<f32>, 64>;
// The best of all, best first.
var<workgroup> logits: array<f32, 256>;
var<workgroup> tokens: array<u32, 256>;

fn comes_first(logit: f32, token: u32, other: f32, other_token: u32) -> bool {
    return logit > other || (logit == other && token < other_token);
}

// By which the best token weighs 1. What is farther below weighs nothing.
fn weight(logit: f32, top: f32, inverse: f32) -> f32 {
    return exp(max(logit - top, -1e4) * inverse);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group);
    let beyond = index >= p.rows;
    let row = min(index, p.rows - 1u);
    let asked = p.settings_base + row * DRAW_WORDS;
    let top_k = u32(settings[asked]);
    let top_p = settings[asked + 1u];
    let min_p = settings[asked + 2u];
    let temperature = settings[asked + 3u];
    let unit = settings[asked + 4u];

    let own = p.x_base + row * ROW_WORDS + lane * PART_WORDS;
    let most = select(min(top_k, MOST), MOST, top_k == 0u);
    // The parts' own bests are sorted: the best of all is always at the head of one of them.
    var head = 0u;
    for (var place = 0u; place < most; place += 1u) {
        var logit = LOWEST;
        var token = NO_TOKEN;
        if (head < KEPT) {
            let number = x[own + KEPT + head];
            if (number >= 0.0) {
                logit = x[own + head];
                token = u32(number);
            }
        }
        lane_bests[lane] = logit;
        lane_tokens[lane] = token;
        workgroupBarrier();
        if (lane < 8u) {
            var first = lane_bests[lane * 8u];
            var first_token = lane_tokens[lane * 8u];
            for (var i = 1u; i < 8u; i += 1u) {
                let other = lane_bests[lane * 8u + i];
                let other_token = lane_tokens[lane * 8u + i];
                if (comes_first(other, other_token, first, first_token)) {
                    first = other;
                    first_token = other_token;
                }
            }
            eighth_bests[lane] = first;
            eighth_tokens[lane] = first_token;
        }
        workgroupBarrier();
        var first = eighth_bests[0];
        var first_token = eighth_tokens[0];
        for (var i = 1u; i < 8u; i += 1u) {
            if (comes_first(eighth_bests[i], eighth_tokens[i], first, first_token)) {
                first = eighth_bests[i];
                first_token = eighth_tokens[i];
            }
        }
        if (lane == 0u) {
            logits[place] = first;
            tokens[place] = first_token;
        }
        if (first_token == token && token != NO_TOKEN) {
            head += 1u;
        }
    }
    workgroupBarrier();
    let top = logits[0];
    let inverse = 1.0 / max(temperature, 1e-6);
    let sums = own + 2u * KEPT;
    let largest = x[sums];
    let sum = select(x[sums + 2u], x[sums + 1u], temperature == 1.0);
    part_sums[lane] = vec2<f32>(weight(largest, top, 1.0) * x[sums + 1u], weight(largest, top, inverse) * sum);
    workgroupBarrier();
    if (lane > 0u || beyond) {
        return;
    }

    var count = 0u;
    var sum_known = vec2<f32>(0.0);
    for (var i = 0u; i < most; i += 1u) {
        if (tokens[i] == NO_TOKEN) {
            break;
        }
        sum_known += vec2<f32>(weight(logits[i], top, 1.0), weight(logits[i], top, inverse));
        count += 1u;
    }
    var drawn = tokens[0];
    if (temperature > 0.0 && count > 0u) {
        var total = sum_known;
        if (top_k == 0u) {
            total = vec2<f32>(0.0);
            for (var i = 0u; i < PARTS; i += 1u) {
                total += part_sums[i];
            }
        }
        var kept = count;
        if (top_p < 1.0) {
            let goal = top_p * total.x;
            var reached = 0.0;
            for (var i = 0u; i < count; i += 1u) {
                reached += weight(logits[i], top, 1.0);
                if (reached >= goal) {
                    kept = i + 1u;
                    total.y = -1.0;
                    break;
                }
            }
        }
        if (min_p > 0.0) {
            for (var i = 1u; i < kept; i += 1u) {
                if (weight(logits[i], top, 1.0) < min_p) {
                    kept = i;
                    total.y = -1.0;
                    break;
                }
            }
        }
        if (total.y < 0.0) {
            // What is left is known.
            total.y = 0.0;
            for (var i = 0u; i < kept; i += 1u) {
                total.y += weight(logits[i], top, inverse);
            }
        }
        var left = unit * total.y;
        for (var i = 0u; i < kept; i += 1u) {
            left -= weight(logits[i], top, inverse);
            if (left < 0.0) {
                drawn = tokens[i];
                break;
            }
        }
    }
    y[p.y_base + row] = select(drawn, 0u, drawn == NO_TOKEN || temperature < 0.0);
}
