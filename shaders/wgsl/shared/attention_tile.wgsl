// Part of the body of attention.wgsl: adds up to 32 keys (`tile_keys`, of places `key0` and on, at `k_row` and `v_row`) to the
// running sums of 64 queries; a query sees the keys whose place is below its `seen` and, in a paged cache, not below its
// `hidden`.
var score0 = vec4<f32>(0.0);
var score1 = vec4<f32>(0.0);
for (var e0 = 0u; e0 < p.head_dim; e0 += 16u) {
    let element = e0 + tx;
    let column = tile * 64u + ty * 4u;
    let at = tx * 16u + (ty ^ tx);
    tile_q[at] = vec4<f32>(q_at(column, q_base, element), q_at(column + 1u, q_base, element),
        q_at(column + 2u, q_base, element), q_at(column + 3u, q_base, element));
    let key = ty * 2u;
    tile_k[at] = vec2<f32>(k_at(key, tile_keys, k_row, element), k_at(key + 1u, tile_keys, k_row, element));
    workgroupBarrier();
    for (var e = 0u; e < 16u; e += 1u) {
        let a = tile_q[e * 16u + (ty ^ e)];
        let b = tile_k[e * 16u + (tx ^ e)];
        score0 += a * b.x;
        score1 += a * b.y;
    }
    workgroupBarrier();
}
let key = key0 + tx * 2u;
score0 *= p.scale;
score1 *= p.scale;
//#if PAGED
if (p.softcap > 0.0) {
    //#repeat i xyzw
    score0.{i} = p.softcap * tanh_safe(score0.{i} / p.softcap);
    score1.{i} = p.softcap * tanh_safe(score1.{i} / p.softcap);
    //#end
}
score0 = select(score0, vec4<f32>(LOWEST), vec4<u32>(key) < hidden);
score1 = select(score1, vec4<f32>(LOWEST), vec4<u32>(key + 1u) < hidden);
//#endif
//#if MASK
score0 = with_mask(score0, mask_base, query, key);
score1 = with_mask(score1, mask_base, query, key + 1u);
//#endif
score0 = select(score0, vec4<f32>(LOWEST), vec4<u32>(key) >= seen);
score1 = select(score1, vec4<f32>(LOWEST), vec4<u32>(key + 1u) >= seen);
let own = tx * 32u + ty;
scores[own] = score0;
scores[own + 16u] = score1;
workgroupBarrier();
var next = highest;
for (var i = 0u; i < 32u; i += 1u) {
    next = max(next, scores[i * 16u + ty]);
}
workgroupBarrier();
scores[own] = select(vec4<f32>(0.0), exp(max(score0 - next, vec4<f32>(-100.0))), score0 > vec4<f32>(MASKED));
scores[own + 16u] = select(vec4<f32>(0.0), exp(max(score1 - next, vec4<f32>(-100.0))), score1 > vec4<f32>(MASKED));
workgroupBarrier();
let fade = exp(max(highest - next, vec4<f32>(-100.0)));
highest = next;
total *= fade;
//#repeat j WIDTH
sum0_{j} *= fade.x;
sum1_{j} *= fade.y;
sum2_{j} *= fade.z;
sum3_{j} *= fade.w;
//#end
for (var i = 0u; i < tile_keys; i += 1u) {
    let part = scores[i * 16u + ty];
    total += part;
    let row = v_row + i * p.kv_stride;
    //#repeat j WIDTH
    let value{j} = v4_at(row, 4u * tx + 64u * {j}u);
    sum0_{j} += part.x * value{j};
    sum1_{j} += part.y * value{j};
    sum2_{j} += part.z * value{j};
    sum3_{j} += part.w * value{j};
    //#end
}
