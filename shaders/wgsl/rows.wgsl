// Rows of a weight in f32: those that `ids` names (embedding), or all of them in order (constant). Of the ids only those
// in the bound shard are written; the other shards' dispatches write the rest.
struct Params {
    grid_x: u32,
    grid_y: u32,
    weight_stride: u32, // chunks of four elements a weight row
    weight_scales: u32,
    k: u32, // elements a row
    first_row: u32, // of the shard
    shard_rows: u32,
    out_rows: u32,
    ids_base: u32,
    y_base: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
//#weight
//#if IDS
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
//#else
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
//#endif

//#include grid

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let chunks = (p.k + 3u) / 4u;
    let index = linear_group(group) * 256u + lane;
    let out_row = index / chunks;
    if (out_row >= p.out_rows) {
        return;
    }
    let chunk = index - out_row * chunks;
    //#if IDS
    let id = ids[p.ids_base + out_row];
    if (id < p.first_row || id - p.first_row >= p.shard_rows) {
        return;
    }
    let row = id - p.first_row;
    //#else
    let row = p.first_row + out_row;
    //#endif
    let v = weight4(row, chunk);
    let at = p.y_base + out_row * p.k + chunk * 4u;
    for (var i = 0u; i < 4u; i += 1u) {
        if (chunk * 4u + i < p.k) {
            y[at + i] = v[i];
        }
    }
}
