// A 64 x 64 tile of a product over steps of 32: 8 x 8 lanes with 8 x 8 sums each, as four blocks of 4 x 4 that lie 32 apart, so
// that each value loaded from workgroup memory serves eight products. Tiles lie there with the summed index outermost;
// the column is xored with the chunk of four, so that neither the transposing stores nor the loads meet in one bank. 16 KiB, the
// least limit that WebGPU grants. A tile of weights may be kept in 16 bits, A_HALVES or B_HALVES, for room and for what a device can load
// in a cycle; products and sums are of 32 bits in any case. What meets the weights is not: it may be beyond the range of 16 bits.
//#if A_HALVES
alias TileA = vec4<f16>;
//#else
alias TileA = vec4<f32>;
//#endif
//#if B_HALVES
alias TileB = vec4<f16>;
//#else
alias TileB = vec4<f32>;
//#endif
var<workgroup> tile_a: array<TileA, 512>;
var<workgroup> tile_b: array<TileB, 512>;

// Stores four rows (of column `column`) by four summed indices (of chunk `chunk`).
fn store_a(chunk: u32, column: u32, r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>) {
    let at = chunk * 64u + (column ^ chunk);
    tile_a[at] = TileA(vec4<f32>(r0.x, r1.x, r2.x, r3.x));
    tile_a[at + 16u] = TileA(vec4<f32>(r0.y, r1.y, r2.y, r3.y));
    tile_a[at + 32u] = TileA(vec4<f32>(r0.z, r1.z, r2.z, r3.z));
    tile_a[at + 48u] = TileA(vec4<f32>(r0.w, r1.w, r2.w, r3.w));
}
fn store_b(chunk: u32, column: u32, r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>) {
    let at = chunk * 64u + (column ^ chunk);
    tile_b[at] = TileB(vec4<f32>(r0.x, r1.x, r2.x, r3.x));
    tile_b[at + 16u] = TileB(vec4<f32>(r0.y, r1.y, r2.y, r3.y));
    tile_b[at + 32u] = TileB(vec4<f32>(r0.z, r1.z, r2.z, r3.z));
    tile_b[at + 48u] = TileB(vec4<f32>(r0.w, r1.w, r2.w, r3.w));
}
