// y = x * weight^T + bias for ROWS rows of x, and weights in blocks, on devices whose lanes read memory one after the other anyway, as a processor's do: each lane
// has four weight rows to itself, so that nothing is summed over lanes and no lane waits for another. What counts there is how often memory is read: eight
// neighbours read 32 elements of x, four each, and tell each other. Subgroups must have at least eight lanes. Rows are whole multiples of 32, and those of
// x begin at multiples of four elements.
//#include matvec_params
@group(0) @binding(1) var<storage, read> words: array<u32>; // the weight
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> quads: array<vec4<u32>>; // the weight, too
@group(0) @binding(6) var<storage, read> other: array<f32>;

//#include sixteen
//#include grid
//#include activation
//#include epilogue
//#include deal
//#include matvec_pairs

@compute @workgroup_size(16)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
    let quad = linear_group(group) * 16u + lane;
    // Lanes of rows beyond the end compute the last row again and write nothing.
    //#repeat j xyzw
    let n{j} = weight_row(quad, OFFSET_{j});
    //#end
    let own = subgroup_lane & 7u;
    //#repeat i ROWS
    let base{i} = ((p.x_base + {i}u * p.k) >> 2u) + own;
    var sum{i} = vec4<f32>(0.0);
    //#end
    let blocks = p.k >> 5u;
    for (var block = 0u; block < blocks; block += 1u) {
        //#repeat i ROWS
        let part{i} = x[base{i} + block * 8u];
        //#end
        //#repeat half 2
        {
            //#repeat i ROWS
            let a{i} = subgroupBroadcast(part{i}, 4u * {half}u);
            let b{i} = subgroupBroadcast(part{i}, 4u * {half}u + 1u);
            let c{i} = subgroupBroadcast(part{i}, 4u * {half}u + 2u);
            let d{i} = subgroupBroadcast(part{i}, 4u * {half}u + 3u);
            //#if MINIMA
            let total{i} = dot(a{i} + b{i} + c{i} + d{i}, vec4<f32>(1.0));
            //#endif
            //#end
            //#repeat j xyzw
            {
                let w = weight16(n{j}, block * 2u + {half}u);
                //#repeat i ROWS
                sum{i}.{j} += product(w, a{i}, b{i}, c{i}, d{i});
                //#if MINIMA
                sum{i}.{j} -= w.minimum * total{i};
                //#endif
                //#end
            }
            //#end
        }
        //#end
    }
    //#repeat i ROWS
    write_quad({i}u, quad, sum{i});
    //#end
}
const OFFSET_x = 0u;
const OFFSET_y = 1u;
const OFFSET_z = 2u;
const OFFSET_w = 3u;
