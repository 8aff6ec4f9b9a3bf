use super::*;
use crate::graph::Conv2dSpec;

/// Seven loops.
fn convolve(
    x: &[f32],
    [b, c, h, w]: [usize; 4],
    weight: &[f32],
    [o, kh, kw]: [usize; 3],
    bias: Option<&[f32]>,
    spec: Conv2dSpec,
) -> Vec<f64> {
    let [top, bottom, left, right] = spec.padding;
    let (oh, ow) = (
        (h + top + bottom - kh) / spec.stride[0] + 1,
        (w + left + right - kw) / spec.stride[1] + 1,
    );
    let mut out = Vec::with_capacity(b * o * oh * ow);
    for item in 0..b {
        for channel in 0..o {
            for y in 0..oh {
                for column in 0..ow {
                    let mut sum = bias.map_or(0.0, |bias| f64::from(bias[channel]));
                    for from in 0..c {
                        for ky in 0..kh {
                            for kx in 0..kw {
                                let (sy, sx) =
                                    (y * spec.stride[0] + ky, column * spec.stride[1] + kx);
                                if sy >= top && sy - top < h && sx >= left && sx - left < w {
                                    let value =
                                        x[((item * c + from) * h + sy - top) * w + sx - left];
                                    let factor = weight[((channel * c + from) * kh + ky) * kw + kx];
                                    sum += f64::from(value) * f64::from(factor);
                                }
                            }
                        }
                    }
                    out.push(sum);
                }
            }
        }
    }
    out
}

#[test]
fn convolution_with_any_kernel_stride_and_padding() {
    let mut random = Random::fresh("convolution_with_any_kernel_stride_and_padding");
    let down = Conv2dSpec {
        stride: [2, 2],
        padding: [0, 1, 0, 1],
    };
    let mut cases = vec![
        ([1, 1, 1, 1], 1, [1, 1], Conv2dSpec::same(1)),
        ([2, 5, 19, 23], 7, [1, 1], Conv2dSpec::same(1)),
        ([2, 40, 17, 16], 33, [3, 3], Conv2dSpec::same(3)),
        ([3, 70, 8, 8], 20, [3, 3], Conv2dSpec::same(3)),
        ([1, 4, 15, 14], 6, [3, 3], down),
        ([1, 3, 40, 41], 5, [3, 3], Conv2dSpec::new(2, 1)),
        // Padding wider than the picture.
        ([1, 2, 2, 1], 3, [5, 5], Conv2dSpec::new(1, 4)),
        ([1, 300, 2, 3], 4, [1, 1], Conv2dSpec::new(2, 0)),
    ];
    for _ in 0..40 {
        let kernel = [random.within(1, 5), random.within(1, 5)];
        let spec = Conv2dSpec {
            stride: [random.within(1, 3), random.within(1, 3)],
            padding: [
                random.within(0, 3),
                random.within(0, 3),
                random.within(0, 3),
                random.within(0, 3),
            ],
        };
        let size = [
            random.within(1, 3),
            random.within(1, 40),
            random.within(kernel[0], 21),
            random.within(kernel[1], 21),
        ];
        cases.push((size, random.within(1, 50), kernel, spec));
    }
    for (size, o, kernel, spec) in cases {
        let x = random.floats(size.iter().product());
        let plain = random_weight(&mut random, "w", &[o, size[1], kernel[0], kernel[1]]);
        let bias = random_weight(&mut random, "b", &[o]);
        for w in [
            plain.clone(),
            half_weight(&plain, StorageDtype::F16),
            half_weight(&plain, StorageDtype::Bf16),
        ] {
            for bias in [None, Some(&bias)] {
                let values = bias.map(|bias| bias.to_f32().unwrap());
                let [kh, kw] = kernel;
                let wanted = convolve(
                    &x,
                    size,
                    &w.to_f32().unwrap(),
                    [o, kh, kw],
                    values.as_deref(),
                    spec,
                );
                let built = graph(|g| {
                    g.conv2d(&g.input("x", &size).unwrap(), &w, bias, spec)
                        .unwrap()
                });
                let what = format!(
                    "{size:?} by {o} of {kernel:?}, {spec:?}, {}",
                    w.dtype().name()
                );
                check(
                    &what,
                    &built,
                    &[("x", HostTensor::f32(size, x.clone()))],
                    &wanted,
                    CLOSE,
                );
            }
        }
    }
}

#[test]
fn group_norm_also_far_from_zero() {
    let mut random = Random::fresh("group_norm_also_far_from_zero");
    for shape in [
        vec![2, 6, 3, 5],
        vec![1, 64, 33, 31],
        vec![2, 12, 7],
        vec![1, 4, 1, 1],
    ] {
        let (c, inner) = (shape[1], shape[2..].iter().product::<usize>());
        for groups in [1, 2, c] {
            for (offset, silu) in [(0.0f32, false), (1e4, false), (0.0, true)] {
                let x: Vec<f32> = random
                    .floats(shape.iter().product())
                    .iter()
                    .map(|v| v * 10.0 + offset)
                    .collect();
                let (w, b) = (
                    random_weight(&mut random, "w", &[c]),
                    random_weight(&mut random, "b", &[c]),
                );
                let (gain, shift) = (w.to_f32().unwrap(), b.to_f32().unwrap());
                let len = c / groups * inner;
                let mut wanted = Vec::new();
                let mut narrowest = 1f64;
                for (i, group) in x.chunks(len).enumerate() {
                    let group = wide(group);
                    let mean = group.iter().sum::<f64>() / len as f64;
                    let variance =
                        group.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / len as f64;
                    narrowest = narrowest.min(variance.sqrt().max(1e-3));
                    for (j, value) in group.iter().enumerate() {
                        let channel = i % groups * (c / groups) + j / inner;
                        let y =
                            (value - mean) / (variance + 1e-6).sqrt() * f64::from(gain[channel]);
                        let y = y + f64::from(shift[channel]);
                        wanted.push(if silu { y / (1.0 + (-y).exp()) } else { y });
                    }
                }
                let built = graph(|g| {
                    g.group_norm(&g.input("x", &shape).unwrap(), &w, &b, groups, 1e-6, silu)
                        .unwrap()
                });
                let inputs = [("x", HostTensor::f32(shape.clone(), x))];
                // One value a group: the result is 0 times a huge factor, the rounded mean's distance.
                // Of a few close values far from zero the mean is rounded by a thousandth of their distance and more.
                let tolerance = match (offset == 0.0, len < 16) {
                    (true, false) => 1e-5,
                    (false, false) => 1e-3,
                    (true, true) => 1e-5 / narrowest as f32,
                    (false, true) => 1e-2 / narrowest as f32,
                };
                if len > 1 {
                    check(
                        &format!("{shape:?} in {groups}"),
                        &built,
                        &inputs,
                        &wanted,
                        tolerance,
                    );
                }
            }
        }
    }
}

#[test]
fn upsampling_to_odd_sizes() {
    let mut random = Random::fresh("upsampling_to_odd_sizes");
    for _ in 0..20 {
        let [b, c, h, w] = [
            random.within(1, 2),
            random.within(1, 5),
            random.within(1, 9),
            random.within(1, 9),
        ];
        let [oh, ow] = [random.within(1, 30), random.within(1, 30)];
        let x = random.floats(b * c * h * w);
        let mut wanted = Vec::new();
        for plane in x.chunks(h * w) {
            for i in 0..oh {
                wanted.extend((0..ow).map(|j| f64::from(plane[i * h / oh * w + j * w / ow])));
            }
        }
        let built = graph(|g| {
            g.upsample_nearest(&g.input("x", &[b, c, h, w]).unwrap(), oh, ow)
                .unwrap()
        });
        check(
            "upsample",
            &built,
            &[("x", HostTensor::f32([b, c, h, w], x))],
            &wanted,
            0.0,
        );
    }
}

#[test]
fn permute_concat_slice_and_gather_move_elements() {
    let mut random = Random::fresh("permute_concat_slice_and_gather_move_elements");
    for _ in 0..100 {
        let rank = random.within(1, 4);
        let shape: Vec<usize> = (0..rank)
            .map(|_| random.within(1, if rank == 4 { 12 } else { 45 }))
            .collect();
        let x = random.floats(shape.iter().product());
        let inputs = [("x", HostTensor::f32(shape.clone(), x.clone()))];
        let mut axes: Vec<usize> = (0..rank).collect();
        random.shuffle(&mut axes);
        let out_shape: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
        let mut wanted = Vec::new();
        for i in 0..x.len() {
            let mut index = vec![0; rank];
            let mut rest = i;
            for (place, &len) in out_shape.iter().enumerate().rev() {
                index[axes[place]] = rest % len;
                rest /= len;
            }
            let at = index
                .iter()
                .zip(&shape)
                .fold(0, |at, (i, len)| at * len + i);
            wanted.push(f64::from(x[at]));
        }
        let built = graph(|g| g.permute(&g.input("x", &shape).unwrap(), &axes).unwrap());
        check(
            &format!("{shape:?} by {axes:?}"),
            &built,
            &inputs,
            &wanted,
            0.0,
        );

        // Cut into three along an axis and joined in another order.
        let axis = random.within(0, rank - 1);
        let a = random.within(0, shape[axis] - 1);
        let b = random.within(a, shape[axis] - 1);
        let cuts = [(0, a), (a, b - a), (b, shape[axis] - b)]
            .into_iter()
            .filter(|(_, len)| *len > 0)
            .rev();
        let cuts: Vec<(usize, usize)> = cuts.collect();
        let inner: usize = shape[axis + 1..].iter().product();
        let mut wanted = Vec::new();
        for row in x.chunks(shape[axis] * inner) {
            for &(start, len) in &cuts {
                wanted.extend(wide(&row[start * inner..(start + len) * inner]));
            }
        }
        let built = graph(|g| {
            let x = g.input("x", &shape).unwrap();
            let parts: Vec<Tensor> = cuts
                .iter()
                .map(|&(start, len)| g.slice(&x, axis, start, len).unwrap())
                .collect();
            g.concat(&parts.iter().collect::<Vec<_>>(), axis).unwrap()
        });
        check(
            &format!("{shape:?} cut at {a} and {b} of axis {axis}"),
            &built,
            &inputs,
            &wanted,
            0.0,
        );
    }
    let (rows, d) = (random.within(1, 20), random.within(1, 20));
    let x = random.floats(rows * d);
    let indices: Vec<u32> = (0..9).map(|_| random.within(0, rows - 1) as u32).collect();
    let wanted: Vec<f64> = indices
        .iter()
        .flat_map(|&i| wide(&x[i as usize * d..][..d]))
        .collect();
    let built = graph(|g| {
        let (x, i) = (
            g.input("x", &[rows, d]).unwrap(),
            g.input_u32("i", &[9]).unwrap(),
        );
        g.gather_rows(&x, &i).unwrap()
    });
    let inputs = [
        ("x", HostTensor::f32([rows, d], x)),
        ("i", HostTensor::u32([9], indices)),
    ];
    check("gather_rows", &built, &inputs, &wanted, 0.0);
}
