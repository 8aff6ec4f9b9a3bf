// Writes keys and values of rows into their slots of a paged cache, as far as the slots lie in the bound window.
struct Params {
    grid_x: u32,
    grid_y: u32,
    rows: u32,
    width: u32, // elements of a slot
    k_base: u32,
    v_base: u32,
    slots_base: u32,
    first_slot: u32, // of the window
    slots: u32, // of the window
    keys_base: u32,
    values_base: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> write_slots: array<u32>;
@group(0) @binding(4) var<storage, read_write> keys: array<f32>;
@group(0) @binding(5) var<storage, read_write> values: array<f32>;

//#include grid

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    let row = index / p.width;
    if (row >= p.rows) {
        return;
    }
    // NO_SLOT is larger than any slot.
    let slot = write_slots[p.slots_base + row];
    if (slot < p.first_slot || slot - p.first_slot >= p.slots) {
        return;
    }
    let at = (slot - p.first_slot) * p.width + (index - row * p.width);
    keys[p.keys_base + at] = k[p.k_base + index];
    values[p.values_base + at] = v[p.v_base + index];
}
