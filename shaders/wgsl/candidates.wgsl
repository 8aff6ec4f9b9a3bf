// The likeliest tokens of rows of logits and sums over all of them: a workgroup for each part of a row, whose tokens are those whose number
// leaves the part's own when divided by PARTS. Layout: `graph/candidates.rs`.
struct Params {
    grid_x: u32,
    grid_y: u32,
    rows: u32,
    width: u32,
    tokens: u32,
    x_base: u32,
    extras_base: u32,
    temperature_base: u32,
    y_base: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> extras: array<u32>;
@group(0) @binding(3) var<storage, read> temperatures: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

//#include grid
alias Summed = vec4<f32>;
const SIDE = 8u;
//#include reduce

const PARTS = 64u;
const KEPT = 16u;
const PART_WORDS = 40u;
const EXTRAS = 256u;
const ROW_WORDS = 2816u; // PARTS * PART_WORDS + EXTRAS
const FARTHEST = 1e4;
const LOWEST = -3.4028234663852886e38;
const NO_TOKEN = 0xffffffffu;

var<workgroup> lane_bests: array<f32, 64>;
var<workgroup> lane_tokens: array<u32, 64>;
var<workgroup> eighth_bests: array<f32, 8>;
var<workgroup> eighth_tokens: array<u32, 8>;

// Compilers may take it for granted that a float is a number, so what is none is told by its bits.
fn is_finite(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}

fn comes_first(logit: f32, token: u32, other: f32, other_token: u32) -> bool {
    return logit > other || (logit == other && token < other_token);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group);
    let beyond = index / PARTS >= p.rows;
    let row = min(index / PARTS, p.rows - 1u);
    let part = index % PARTS;
    let base = p.x_base + row * p.width;
    let out = p.y_base + row * ROW_WORDS + part * PART_WORDS;

    // The best of the lane's own tokens.
    var best = LOWEST;
    var token = NO_TOKEN;
    for (var id = part + lane * PARTS; id < p.tokens; id += 64u * PARTS) {
        let logit = x[base + id];
        if (is_finite(logit) && comes_first(logit, id, best, token)) {
            best = logit;
            token = id;
        }
    }
    var largest = LOWEST;
    for (var place = 0u; place < KEPT; place += 1u) {
        lane_bests[lane] = best;
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
        if (place == 0u) {
            largest = first;
        }
        if (lane == 0u && !beyond) {
            y[out + place] = first;
            y[out + KEPT + place] = select(f32(first_token), -1.0, first_token == NO_TOKEN);
        }
        if (first_token == token && token != NO_TOKEN) {
            // The lane's next after that one.
            best = LOWEST;
            token = NO_TOKEN;
            for (var id = part + lane * PARTS; id < p.tokens; id += 64u * PARTS) {
                let logit = x[base + id];
                if (is_finite(logit) && comes_first(first, first_token, logit, id) && comes_first(logit, id, best, token)) {
                    best = logit;
                    token = id;
                }
            }
        }
    }

    let inverse = temperatures[p.temperature_base + row];
    var sum = 0.0;
    var sum_at = 0.0;
    var sum_x_exp = 0.0;
    var sum_x = 0.0;
    var sum_x_squared = 0.0;
    var count = 0.0;
    var odd = 0.0;
    for (var id = part + lane * PARTS; id < p.tokens; id += 64u * PARTS) {
        let logit = x[base + id];
        let distance = logit - largest;
        if (is_finite(logit) && distance >= -FARTHEST) {
            let power = exp(distance);
            sum += power;
            sum_at += exp(distance * inverse);
            sum_x_exp += distance * power;
            sum_x += distance;
            sum_x_squared += distance * distance;
            count += 1.0;
        } else if (bitcast<u32>(logit) != 0xff800000u) {
            // All but minus infinity, which is no candidate.
            odd += 1.0;
        }
    }
    let four = workgroup_sum(vec4<f32>(sum, sum_at, sum_x_exp, sum_x), lane);
    let three = workgroup_sum(vec4<f32>(sum_x_squared, count, odd, 0.0), lane);
    if (beyond) {
        return;
    }
    if (lane == 0u) {
        let sums = out + 2u * KEPT;
        y[sums] = largest;
        //#repeat i 4
        y[sums + 1u + {i}u] = four[{i}];
        //#end
        //#repeat i 3
        y[sums + 5u + {i}u] = three[{i}];
        //#end
    }
    // The parts share the tokens that were asked for.
    for (var place = part + lane * PARTS; place < EXTRAS; place += 64u * PARTS) {
        let id = extras[p.extras_base + row * EXTRAS + place];
        var logit = 0.0;
        if (id < p.tokens) {
            logit = x[base + id];
        }
        y[p.y_base + row * ROW_WORDS + PARTS * PART_WORDS + place] = logit;
    }
}
