#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::session::median;
use super::*;
use crate::formats::StorageDtype;

#[test]
fn costs_are_those_of_the_shapes() {
    use crate::graph::GraphBuilder;
    use crate::synthesize::random_tensor;
    let g = GraphBuilder::new("costs");
    let x = g.input("x", &[3, 64]).unwrap();
    let w = random_tensor("w", &[32, 64], StorageDtype::Q8_0, 1).unwrap();
    let y = g.linear(&x, &w, None).unwrap();
    g.output("y", &y);
    let cost = cost::of_graph(&g.finish(), 0.0);
    assert_eq!(cost.flops, 2.0 * 3.0 * 64.0 * 32.0);
    assert_eq!(cost.weights, 32.0 * 2.0 * 34.0);
    assert_eq!(cost.values, 4.0 * (3.0 * 64.0 + 3.0 * 32.0));
}

#[test]
fn medians_are_in_the_middle() {
    assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    assert_eq!(median(&mut [7.0]), 7.0);
}
