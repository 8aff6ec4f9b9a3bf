// Part of the bodies of tiled products: adds one step of 32 to the 8 x 8 sums of a lane, `sum{row}_{half}`.
for (var s = 0u; s < 8u; s += 1u) {
    let ia = s * 64u + (ty ^ s);
    let ib = s * 64u + (tx ^ s);
    //#repeat j 4
    {
        let a0 = vec4<f32>(tile_a[ia + {j}u * 16u]);
        let a1 = vec4<f32>(tile_a[ia + {j}u * 16u + 8u]);
        let b0 = vec4<f32>(tile_b[ib + {j}u * 16u]);
        let b1 = vec4<f32>(tile_b[ib + {j}u * 16u + 8u]);
        //#repeat h 2
        sum0_{h} += a0.x * b{h};
        sum1_{h} += a0.y * b{h};
        sum2_{h} += a0.z * b{h};
        sum3_{h} += a0.w * b{h};
        sum4_{h} += a1.x * b{h};
        sum5_{h} += a1.y * b{h};
        sum6_{h} += a1.z * b{h};
        sum7_{h} += a1.w * b{h};
        //#end
    }
    //#end
}
