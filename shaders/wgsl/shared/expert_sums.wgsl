// Part of the bodies of products with experts: adds the lanes' sums up and writes four results.
    lane_sums[lane] = sum;
    workgroupBarrier();
    if (lane < 8u) {
        var part = vec4<f32>(0.0);
        for (var i = 0u; i < 8u; i += 1u) {
            part += lane_sums[lane * 8u + i];
        }
        eighth_sums[lane] = part;
    }
    workgroupBarrier();
    if (lane < 4u) {
        var whole = 0.0;
        for (var i = 0u; i < 8u; i += 1u) {
            whole += eighth_sums[i][lane];
        }
        if (inside[lane]) {
            y[p.y_base + pair * p.n + first + lane] = whole;
        }
    }
