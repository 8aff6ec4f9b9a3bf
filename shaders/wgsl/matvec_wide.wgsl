// y = x * weight^T + bias for ROWS rows of x, and weights in blocks: 64 lanes share the sums over K of 4 * QUADS weight rows,
// sixteen neighbours of a row at a time, so that a block's scale is decoded once for them and weights come in pieces of up to
// 16 bytes. Each is decoded once for all rows of x: where those are few, a lane holds its sixteen of each (HELD) and goes through the weight
// rows; else it holds four weight rows and goes through x. Rows are whole multiples of sixteen, and those of x begin at multiples of
// four elements.
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

//#if SUBGROUPS
// Subgroups have at least four lanes, so that there are at most sixteen.
var<workgroup> subgroup_sums: array<vec4<f32>, 16 * ROWS * QUADS>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
//#else
var<workgroup> lane_sums: array<vec4<f32>, 64 * ROWS * QUADS>;
var<workgroup> eighth_sums: array<vec4<f32>, 8 * ROWS * QUADS>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
//#endif
    let first = linear_group(group) * QUADS;
    // Lanes of rows beyond the end compute the last row again and write nothing.
    //#repeat q QUADS
    //#repeat j xyzw
    let n{q}{j} = weight_row(first + {q}u, OFFSET_{j});
    //#end
    //#end
    //#repeat i ROWS
    let base{i} = (p.x_base + {i}u * p.k) >> 2u;
    //#repeat q QUADS
    var sum{i}_{q} = vec4<f32>(0.0);
    //#end
    //#end
    let steps = p.k >> 4u;
    for (var step = lane; step < steps; step += 64u) {
        //#if HELD
        //#repeat i ROWS
        let at{i} = base{i} + step * 4u;
        let a{i} = x[at{i}];
        let b{i} = x[at{i} + 1u];
        let c{i} = x[at{i} + 2u];
        let d{i} = x[at{i} + 3u];
        //#if MINIMA
        let total{i} = dot(a{i} + b{i} + c{i} + d{i}, vec4<f32>(1.0));
        //#endif
        //#end
        //#repeat q QUADS
        //#repeat j xyzw
        {
            let w = weight16(n{q}{j}, step);
            //#repeat i ROWS
            sum{i}_{q}.{j} += product(w, a{i}, b{i}, c{i}, d{i});
            //#if MINIMA
            sum{i}_{q}.{j} -= w.minimum * total{i};
            //#endif
            //#end
        }
        //#end
        //#end
        //#else
        //#repeat j xyzw
        let w{j} = weight16(n0{j}, step);
        //#end
        //#repeat i ROWS
        {
            let at = base{i} + step * 4u;
            let a = x[at];
            let b = x[at + 1u];
            let c = x[at + 2u];
            let d = x[at + 3u];
            sum{i}_0 += vec4<f32>(product(wx, a, b, c, d), product(wy, a, b, c, d), product(wz, a, b, c, d), product(ww, a, b, c, d));
            //#if MINIMA
            sum{i}_0 -= vec4<f32>(wx.minimum, wy.minimum, wz.minimum, ww.minimum) * dot(a + b + c + d, vec4<f32>(1.0));
            //#endif
        }
        //#end
        //#endif
    }
    //#if SUBGROUPS
    //#repeat i ROWS
    //#repeat q QUADS
    let all{i}_{q} = subgroupAdd(sum{i}_{q});
    if (subgroup_lane == 0u) {
        subgroup_sums[({i}u * QUADS + {q}u) * 16u + subgroup] = all{i}_{q};
    }
    //#end
    //#end
    workgroupBarrier();
    //#else
    //#repeat i ROWS
    //#repeat q QUADS
    lane_sums[({i}u * QUADS + {q}u) * 64u + lane] = sum{i}_{q};
    //#end
    //#end
    workgroupBarrier();
    if (lane < 8u * ROWS * QUADS) {
        var sum = vec4<f32>(0.0);
        for (var i = 0u; i < 8u; i += 1u) {
            sum += lane_sums[lane * 8u + i];
        }
        eighth_sums[lane] = sum;
    }
    workgroupBarrier();
    //#endif
    let row = lane / QUADS;
    if (row < ROWS) {
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
        write_quad(row, first + lane % QUADS, sum);
    }
}
const OFFSET_x = 0u;
const OFFSET_y = 1u;
const OFFSET_z = 2u;
const OFFSET_w = 3u;
