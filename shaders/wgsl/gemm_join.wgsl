// Adds up the parts of a product whose K was split, in the order of the splits, and the bias; multiplies the halves of a gated product.
struct Params {
    grid_x: u32,
    grid_y: u32,
    splits: u32,
    rows: u32,
    n: u32, // columns of the parts
    columns: u32, // of the result: half of them where it is gated
    gate: u32, // function of the second half; 9: not gated
    y_base: u32,
    y_stride: u32,
    bias_base: u32,
    has_bias: u32,
    y_row_begin: u32, // of the first row, where y lies in columns
    y_plane: u32,
    y_outer: u32,
    y_step: u32,
    //#include epilogue_params
    //#include deal_params
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> other: array<f32>;

//#include grid
//#include activation
//#include epilogue
//#include product_place
//#include deal

fn joined(row: u32, column: u32) -> f32 {
    var sum = 0.0;
    for (var split = 0u; split < p.splits; split += 1u) {
        sum += parts[(split * p.rows + row) * p.n + column];
    }
    if (p.has_bias != 0u) {
        sum += bias[p.bias_base + column];
    }
    return sum;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    if (index >= p.rows * p.columns) {
        return;
    }
    let row = index / p.columns;
    let column = index - row * p.columns;
    var value = joined(row, column);
    if (p.gate != 9u) {
        value *= apply_function(p.gate, joined(row, column + p.columns), 0.0, 0.0);
    }
    let at = dealt(row, column, place(row, column));
    y[at] = finish(value, at);
}
