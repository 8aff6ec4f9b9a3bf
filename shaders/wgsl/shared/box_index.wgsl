// Part of the bodies of kernels over boxes of up to four dimensions: from the number of an element to its place in the box, `i0` to `i3`.
    let q3 = index / p.d3;
    let i3 = index - q3 * p.d3;
    let q2 = q3 / p.d2;
    let i2 = q3 - q2 * p.d2;
    let i0 = q2 / p.d1;
    let i1 = q2 - i0 * p.d1;
