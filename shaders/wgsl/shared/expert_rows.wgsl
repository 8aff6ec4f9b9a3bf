// Part of the bodies of products with experts: which rows of which expert a workgroup takes, and where its row of x begins.
    let index = linear_group(group);
    let pair = min(index / p.blocks, p.pairs - 1u);
    let beyond = index / p.blocks >= p.pairs;
    let first = (index % p.blocks) * 4u;
    // Bands begin with the first expert of a row or with any other.
    let counted = pair + p.first_place;
    let expert = u32(routes[p.routes_base + (counted / p.used) * p.used * 2u + counted % p.used]);
    let base = p.x_base + (counted / p.x_divisor - p.first_place / p.x_divisor) * p.k;
    var sum = vec4<f32>(0.0);
    var rows = array<u32, 4>(0u, 0u, 0u, 0u);
    var inside = array<bool, 4>(false, false, false, false);
    var some = false;
    for (var i = 0u; i < 4u; i += 1u) {
        let row = expert * p.n + first + i;
        inside[i] = !beyond && first + i < p.n && row >= p.first_row && row - p.first_row < p.shard_rows;
        // Lanes of rows that are elsewhere compute one that is here, and write nothing.
        rows[i] = select(0u, row - p.first_row, inside[i]);
        some = some || inside[i];
    }
