// Part of the body of attention_narrow.wgsl: adds up to 32 keys (`tile_keys`, of places `key0` and on, at `k_row` and `v_row`) to the
// running sums of 64 queries; a query sees the keys whose place is below its `seen` and, in a paged cache, not below its
// `hidden`.
//#repeat h 2
//#repeat j xyzw
var score{h}{j} = vec4<f32>(0.0);
//#end
//#end
for (var e0 = 0u; e0 < p.head_dim; e0 += 16u) {
    let own = lane & 15u;
    let element = e0 + own;
    for (var quad = lane >> 4u; quad < 16u; quad += 4u) {
        let column = tile * 64u + quad * 4u;
        tile_q[own * 16u + (quad ^ own)] = vec4<f32>(q_at(column, q_base, element), q_at(column + 1u, q_base, element),
            q_at(column + 2u, q_base, element), q_at(column + 3u, q_base, element));
    }
    for (var quad = lane >> 4u; quad < 8u; quad += 4u) {
        let key = quad * 4u;
        tile_k[own * 8u + (quad ^ (own & 7u))] = vec4<f32>(k_at(key, tile_keys, k_row, element), k_at(key + 1u, tile_keys, k_row, element),
            k_at(key + 2u, tile_keys, k_row, element), k_at(key + 3u, tile_keys, k_row, element));
    }
    workgroupBarrier();
    for (var e = 0u; e < 16u; e += 1u) {
        let a0 = tile_q[e * 16u + (ty ^ e)];
        let a1 = tile_q[e * 16u + ((ty + 8u) ^ e)];
        let b = tile_k[e * 8u + (tx ^ (e & 7u))];
        //#repeat h 2
        //#repeat j xyzw
        score{h}{j} += a{h} * b.{j};
        //#end
        //#end
    }
    workgroupBarrier();
}
//#repeat h 2
//#repeat j xyzw
score{h}{j} *= p.scale;
//#if PAGED
if (p.softcap > 0.0) {
    //#repeat i xyzw
    score{h}{j}.{i} = p.softcap * tanh_safe(score{h}{j}.{i} / p.softcap);
    //#end
}
//#endif
//#if MASK
score{h}{j} = with_mask(score{h}{j}, mask_base, query0 + 32u * {h}u, key0 + tx * 4u + OFFSET_{j});
//#endif
scores[(tx * 4u + OFFSET_{j}) * 16u + ty + 8u * {h}u] = score{h}{j};
//#end
//#end
workgroupBarrier();
if (lane < 16u) {
    var next = highest;
    for (var i = 0u; i < tile_keys; i += 1u) {
        let key = vec4<u32>(key0 + i);
        //#if PAGED
        let visible = (key < seen) & (key >= hidden);
        //#else
        let visible = key < seen;
        //#endif
        next = max(next, select(vec4<f32>(LOWEST), scores[i * 16u + lane], visible));
    }
    let fade = exp(max(highest - next, vec4<f32>(-100.0)));
    highest = next;
    total *= fade;
    for (var i = 0u; i < tile_keys; i += 1u) {
        let key = vec4<u32>(key0 + i);
        //#if PAGED
        let visible = (key < seen) & (key >= hidden);
        //#else
        //#if MASK
        let visible = (key < seen) & (scores[i * 16u + lane] > vec4<f32>(MASKED));
        //#else
        let visible = key < seen;
        //#endif
        //#endif
        let part = select(vec4<f32>(0.0), exp(max(scores[i * 16u + lane] - next, vec4<f32>(-100.0))), visible);
        scores[i * 16u + lane] = part;
        total += part;
    }
    factors[lane] = fade;
}
workgroupBarrier();
let fade0 = factors[ty];
let fade1 = factors[ty + 8u];
//#repeat j COLUMNS
sum0_{j} *= fade0.x;
sum1_{j} *= fade0.y;
sum2_{j} *= fade0.z;
sum3_{j} *= fade0.w;
sum4_{j} *= fade1.x;
sum5_{j} *= fade1.y;
sum6_{j} *= fade1.z;
sum7_{j} *= fade1.w;
//#end
for (var i = 0u; i < tile_keys; i += 1u) {
    let part0 = scores[i * 16u + ty];
    let part1 = scores[i * 16u + ty + 8u];
    let row = v_row + i * p.kv_stride;
    //#repeat j COLUMNS
    let value{j} = v4_at(row, 4u * tx + 32u * {j}u);
    sum0_{j} += part0.x * value{j};
    sum1_{j} += part0.y * value{j};
    sum2_{j} += part0.z * value{j};
    sum3_{j} += part0.w * value{j};
    sum4_{j} += part1.x * value{j};
    sum5_{j} += part1.y * value{j};
    sum6_{j} += part1.z * value{j};
    sum7_{j} += part1.w * value{j};
    //#end
}
