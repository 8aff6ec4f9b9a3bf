// Parameters and bindings of attention by tiles; see attention.wgsl.
struct Params {
    grid_x: u32,
    grid_y: u32,
    heads: u32,
    heads_per_kv: u32,
    head_dim: u32,
    queries: u32, // of this dispatch, in every batch
    query_tiles: u32,
    q_base: u32,
    q_stride: u32, // elements from one query (and result) to the next
    k_base: u32,
    v_base: u32,
    kv_stride: u32, // words from one key to the next
    y_base: u32,
    state_base: u32, // in pairs
    first_window: u32,
    last_window: u32,
    scale: f32,
    //#if PAGED
    //#include paged_params
    //#else
    batches: u32,
    q_batch_stride: u32,
    kv_batch_stride: u32,
    keys: u32, // of this window
    first_query: u32, // place of the first query, for the causal mask
    first_key: u32, // place of the window's first key
    causal: u32,
    //#if MASK
    mask_base: u32, // of the first query and the window's first key
    mask_batch_stride: u32,
    mask_head_stride: u32,
    mask_stride: u32, // from one query to the next
    //#endif
    //#endif
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
//#if KV_F32
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
//#endif
//#if KV_PACKED
@group(0) @binding(2) var<storage, read> k: array<u32>;
@group(0) @binding(3) var<storage, read> v: array<u32>;
//#endif
//#if PAGED
@group(0) @binding(4) var<storage, read> positions: array<u32>;
@group(0) @binding(5) var<storage, read> sequences: array<u32>;
@group(0) @binding(6) var<storage, read> tables: array<u32>;
@group(0) @binding(7) var<storage, read_write> state: array<vec2<f32>>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;

const NO_SLOT = 0xffffffffu;
//#else
@group(0) @binding(4) var<storage, read_write> state: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
//#if MASK
@group(0) @binding(6) var<storage, read> mask: array<f32>; // added to the scores

const HIDDEN = -1.0e30;
//#endif
//#endif

//#include grid
//#if PAGED
//#include activation
//#endif

const LOWEST = -3.0e38;
const MASKED = -1.0e38;
