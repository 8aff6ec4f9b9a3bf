// y = x * weight^T + bias for tiles of ROWS rows of x by 32 * QUADS weight rows, on devices whose lanes read memory one after the other, as a processor's do
// (see matvec_across.wgsl). What costs there is how often memory is read, whoever else reads the same, and workgroup memory is memory, too: so a lane
// has 4 * QUADS weight rows to itself and the sums of all rows of x with them, eight neighbours read x together and tell each other, and
// nothing is shared otherwise. K is a multiple of sixteen. IN_COLUMNS: x lies in columns, [B, K, plane], with planes of whole multiples of four.
// Subgroups must have at least eight lanes.
struct Params {
    //#include product_params
    weight_first: u32, // weight row of the first column
    tiles_n: u32, // tiles side by side
    x_row_begin: u32, // of the first row of this dispatch, where x lies in columns
    x_plane: u32, // rows of x of a plane, where it lies in columns
    y_row_begin: u32, // the same, where y lies in columns
    y_plane: u32,
    y_outer: u32,
    y_step: u32,
    pairs: u32, // where the second half of the weight rows makes gates of the first (GATED): the rows of a half
    //#include epilogue_params
    //#include deal_params
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> words: array<u32>; // the weight
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> quads: array<vec4<u32>>; // the weight, too
@group(0) @binding(6) var<storage, read> other: array<f32>;

//#include sixteen
//#include grid
//#include activation
//#include product_place
//#if DEALT
//#include deal
//#endif

// The weight row of one of the four of a quad: four in a row, or, where halves are multiplied, two of each half. Those beyond the end are the last one again.
fn weight_row(quad: u32, j: u32) -> u32 {
    //#if GATED
    return p.weight_first + min(quad * 2u + (j & 1u), p.n - 1u) + select(0u, p.pairs, j >= 2u);
    //#else
    return p.weight_first + min(quad * 4u + j, p.n - 1u);
    //#endif
}

// What the bias adds to the sums of a weight row.
fn bias_of(row: u32) -> f32 {
    if (p.has_bias == 0u) {
        return 0.0;
    }
    return bias[p.bias_base + row - p.weight_first];
}

// Ends a value, and writes it. What a kernel does not do is not in its text, since such a device computes both sides of a branch.
fn write_value(row: u32, column: u32, value: f32) {
    var v = value;
    //#if DEALT
    let at = dealt(row, column, 0u);
    //#else
    let at = place(row, column);
    //#endif
    //#if BEFORE_ANY
    v = apply_function(BEFORE, v, p.before_a, p.before_b);
    //#endif
    //#if MEETS
    let picture = (p.y_row_begin + row) / p.y_plane;
    let by_channel = p.channel_base + picture * p.channel_stride + column;
    let met = other[select(at, by_channel, p.combine == 3u)];
    v = select(v + met, v * met, p.combine == 2u);
    //#endif
    //#if AFTER_ANY
    v = apply_function(AFTER, v, p.after_a, p.after_b);
    //#endif
    y[at] = v;
}

// Ends the sums of a quad, and writes them.
fn write_quad(row: u32, quad: u32, sum: vec4<f32>) {
    //#if GATED
    let gate_x = apply_function(GATE, sum.z, 0.0, 0.0);
    let gate_y = apply_function(GATE, sum.w, 0.0, 0.0);
    if (row < p.rows && quad * 2u < p.n) {
        write_value(row, quad * 2u, sum.x * gate_x);
    }
    if (row < p.rows && quad * 2u + 1u < p.n) {
        write_value(row, quad * 2u + 1u, sum.y * gate_y);
    }
    //#else
    //#repeat j xyzw
    if (row < p.rows && quad * 4u + OFFSET_{j} < p.n) {
        write_value(row, quad * 4u + OFFSET_{j}, sum.{j});
    }
    //#end
    //#endif
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
    let tile = linear_group(group);
    let row0 = (tile / p.tiles_n) * ROWS;
    let quad0 = ((tile % p.tiles_n) * 8u + lane) * QUADS;
    //#repeat q QUADS
    //#repeat j xyzw
    let n{q}{j} = weight_row(quad0 + {q}u, OFFSET_{j});
    //#end
    //#end
    let own = subgroup_lane & 7u;
    //#if IN_COLUMNS
    // Each lane reads four rows at one summed index; lanes beyond a tile's rows are at further ones. Rows beyond the end are the last ones again.
    let quad_row = min(row0 / 4u + own % GROUPS, (p.rows - 1u) / 4u) * 4u + p.x_row_begin;
    let outer = quad_row / p.x_plane;
    var x_at = (p.x_base + (outer * p.k + own / GROUPS) * p.x_plane + (quad_row - outer * p.x_plane)) >> 2u;
    let x_step = (p.x_plane >> 2u) * (8u / GROUPS);
    //#else
    // Each lane reads four neighbours of a row, so that eight of them have sixteen of two rows.
    //#repeat g GROUPS
    var at{g}x = ((p.x_base + min(row0 + {g}u * 4u + (own >> 2u), p.rows - 1u) * p.k) >> 2u) + (own & 3u);
    var at{g}z = ((p.x_base + min(row0 + {g}u * 4u + 2u + (own >> 2u), p.rows - 1u) * p.k) >> 2u) + (own & 3u);
    //#end
    //#endif
    //#repeat g GROUPS
    //#repeat i xyzw
    //#repeat q QUADS
    var sum{g}{i}{q} = vec4<f32>(0.0);
    //#end
    //#end
    //#end
    let steps = p.k >> 4u;
    for (var step = 0u; step < steps; step += 1u) {
        //#if IN_COLUMNS
        //#repeat k PARTS
        let part{k} = x[x_at];
        x_at += x_step;
        //#end
        //#else
        //#repeat g GROUPS
        let part{g}x = x[at{g}x];
        let part{g}y = part{g}x;
        let part{g}z = x[at{g}z];
        let part{g}w = part{g}z;
        at{g}x += 4u;
        at{g}z += 4u;
        //#end
        //#endif
        //#repeat q QUADS
        //#repeat j xyzw
        let w{q}{j} = weight16(n{q}{j}, step);
        //#end
        //#end
        //#repeat g GROUPS
        //#repeat i xyzw
        {
            //#if LARGE_COLUMNS
            let a = vec4<f32>(subgroupBroadcast(part0.{i}, {g}u), subgroupBroadcast(part1.{i}, {g}u), subgroupBroadcast(part2.{i}, {g}u), subgroupBroadcast(part3.{i}, {g}u));
            let b = vec4<f32>(subgroupBroadcast(part4.{i}, {g}u), subgroupBroadcast(part5.{i}, {g}u), subgroupBroadcast(part6.{i}, {g}u), subgroupBroadcast(part7.{i}, {g}u));
            let c = vec4<f32>(subgroupBroadcast(part8.{i}, {g}u), subgroupBroadcast(part9.{i}, {g}u), subgroupBroadcast(part10.{i}, {g}u), subgroupBroadcast(part11.{i}, {g}u));
            let d = vec4<f32>(subgroupBroadcast(part12.{i}, {g}u), subgroupBroadcast(part13.{i}, {g}u), subgroupBroadcast(part14.{i}, {g}u), subgroupBroadcast(part15.{i}, {g}u));
            //#endif
            //#if SMALL_COLUMNS
            let a = vec4<f32>(subgroupBroadcast(part0.{i}, {g}u), subgroupBroadcast(part0.{i}, {g}u + 4u), subgroupBroadcast(part1.{i}, {g}u), subgroupBroadcast(part1.{i}, {g}u + 4u));
            let b = vec4<f32>(subgroupBroadcast(part2.{i}, {g}u), subgroupBroadcast(part2.{i}, {g}u + 4u), subgroupBroadcast(part3.{i}, {g}u), subgroupBroadcast(part3.{i}, {g}u + 4u));
            let c = vec4<f32>(subgroupBroadcast(part4.{i}, {g}u), subgroupBroadcast(part4.{i}, {g}u + 4u), subgroupBroadcast(part5.{i}, {g}u), subgroupBroadcast(part5.{i}, {g}u + 4u));
            let d = vec4<f32>(subgroupBroadcast(part6.{i}, {g}u), subgroupBroadcast(part6.{i}, {g}u + 4u), subgroupBroadcast(part7.{i}, {g}u), subgroupBroadcast(part7.{i}, {g}u + 4u));
            //#endif
            //#if IN_ROWS
            let a = subgroupBroadcast(part{g}{i}, 4u * (OFFSET_{i} & 1u));
            let b = subgroupBroadcast(part{g}{i}, 4u * (OFFSET_{i} & 1u) + 1u);
            let c = subgroupBroadcast(part{g}{i}, 4u * (OFFSET_{i} & 1u) + 2u);
            let d = subgroupBroadcast(part{g}{i}, 4u * (OFFSET_{i} & 1u) + 3u);
            //#endif
            //#if MINIMA
            let total = dot(a + b + c + d, vec4<f32>(1.0));
            //#endif
            //#repeat q QUADS
            //#repeat j xyzw
            sum{g}{i}{q}.{j} += product(w{q}{j}, a, b, c, d);
            //#if MINIMA
            sum{g}{i}{q}.{j} -= w{q}{j}.minimum * total;
            //#endif
            //#end
            //#end
        }
        //#end
        //#end
    }
    // By a loop: what follows a product is much text.
    var sums: array<vec4<f32>, ROWS * QUADS>;
    //#repeat g GROUPS
    //#repeat i xyzw
    //#repeat q QUADS
    sums[({g}u * 4u + OFFSET_{i}) * QUADS + {q}u] = sum{g}{i}{q};
    //#end
    //#end
    //#end
    //#repeat q QUADS
    let bias{q} = vec4<f32>(bias_of(n{q}x), bias_of(n{q}y), bias_of(n{q}z), bias_of(n{q}w));
    //#end
    for (var row = 0u; row < ROWS; row += 1u) {
        //#repeat q QUADS
        write_quad(row0 + row, quad0 + {q}u, sums[row * QUADS + {q}u] + bias{q});
        //#end
    }
}
const OFFSET_x = 0u;
const OFFSET_y = 1u;
const OFFSET_z = 2u;
const OFFSET_w = 3u;
