// The weight row of one of the four rows of a quad: four in a row, or, where halves are multiplied, two of each half.
fn weight_row(quad: u32, j: u32) -> u32 {
    if (p.pairs == 0u) {
        return min(quad * 4u + j, p.n - 1u);
    }
    return min(quad * 2u + (j & 1u), p.pairs - 1u) + select(0u, p.pairs, j >= 2u);
}

// What the bias adds to the sum of a weight row.
fn bias_of(column: u32) -> f32 {
    if (p.has_bias == 0u) {
        return 0.0;
    }
    return bias[p.bias_base + column];
}

// Ends the sums of a quad, and writes them.
fn write_quad(row: u32, quad: u32, sum: vec4<f32>) {
    let start = p.y_base + row * p.y_stride;
    if (p.pairs != 0u) {
        for (var i = 0u; i < 2u; i += 1u) {
            let column = quad * 2u + i;
            if (column < p.pairs) {
                let gate = apply_function(p.gate, sum[i + 2u] + bias_of(column + p.pairs), 0.0, 0.0);
                let at = start + column;
                y[at] = finish((sum[i] + bias_of(column)) * gate, at);
            }
        }
        return;
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let column = quad * 4u + i;
        if (column < p.n) {
            let at = dealt(row, column, start + column);
            y[at] = finish(sum[i] + bias_of(column), at);
        }
    }
}
