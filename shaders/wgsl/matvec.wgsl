// y = x * weight^T + bias for ROWS rows of x: 64 lanes share the sums over K of four weight rows.
//#include matvec_params
//#weight
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> other: array<f32>;

//#include grid
//#include activation
//#include epilogue
//#include deal
//#include matvec_pairs
//#include load4

//#if SUBGROUPS
// Subgroups have at least four lanes, so that there are at most sixteen.
var<workgroup> subgroup_sums: array<vec4<f32>, 16 * ROWS>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
//#else
var<workgroup> lane_sums: array<vec4<f32>, 64 * ROWS>;
var<workgroup> eighth_sums: array<vec4<f32>, 8 * ROWS>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
//#endif
    let quad = linear_group(group);
    // Lanes of rows beyond the end compute the last row again and write nothing.
    let n0 = weight_row(quad, 0u);
    let n1 = weight_row(quad, 1u);
    let n2 = weight_row(quad, 2u);
    let n3 = weight_row(quad, 3u);
    //#repeat i ROWS
    var sum{i} = vec4<f32>(0.0);
    let base{i} = p.x_base + {i}u * p.k;
    //#end
    let chunks = (p.k + 3u) / 4u;
    for (var chunk = lane; chunk < chunks; chunk += 64u) {
        let w0 = weight4(n0, chunk);
        let w1 = weight4(n1, chunk);
        let w2 = weight4(n2, chunk);
        let w3 = weight4(n3, chunk);
        //#repeat i ROWS
        let v{i} = load4(base{i}, chunk * 4u, p.k);
        sum{i} += vec4<f32>(dot(w0, v{i}), dot(w1, v{i}), dot(w2, v{i}), dot(w3, v{i}));
        //#end
    }
    //#if SUBGROUPS
    //#repeat i ROWS
    let all{i} = subgroupAdd(sum{i});
    if (subgroup_lane == 0u) {
        subgroup_sums[{i}u * 16u + subgroup] = all{i};
    }
    //#end
    workgroupBarrier();
    //#else
    //#repeat i ROWS
    lane_sums[{i}u * 64u + lane] = sum{i};
    //#end
    workgroupBarrier();
    if (lane < 8u * ROWS) {
        var sum = vec4<f32>(0.0);
        for (var i = 0u; i < 8u; i += 1u) {
            sum += lane_sums[lane * 8u + i];
        }
        eighth_sums[lane] = sum;
    }
    workgroupBarrier();
    //#endif
    if (lane < ROWS) {
        var sum = vec4<f32>(0.0);
        //#if SUBGROUPS
        for (var i = 0u; i < subgroups; i += 1u) {
            sum += subgroup_sums[lane * 16u + i];
        }
        //#else
        for (var i = 0u; i < 8u; i += 1u) {
            sum += eighth_sums[lane * 8u + i];
        }
        //#endif
        write_quad(lane, quad, sum);
    }
}
