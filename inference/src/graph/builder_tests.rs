//! Tests of the builder.

use super::*;

fn weight(name: &str, shape: &[usize]) -> TensorData {
    let n = shape.iter().product();
    TensorData::from_f32(name, shape, &vec![0.5; n]).unwrap()
}

#[test]
fn shapes_are_inferred_and_unused_nodes_fall_away() {
    let g = GraphBuilder::new("test");
    let x = g.input("x", &[2, 3, 5, 7]).unwrap();
    let w = weight("conv.weight", &[4, 3, 3, 3]);
    let down = Conv2dSpec {
        stride: [2, 2],
        padding: [0, 1, 0, 1],
    };
    let y = g.conv2d(&x, &w, None, down).unwrap();
    assert_eq!(y.shape(), [2, 4, 2, 3]);
    let unused = weight("unused", &[9, 3]);
    let flat = g.reshape(&x, &[2, 35, 3]).unwrap();
    g.linear(&flat, &unused, None).unwrap();
    g.output("y", &y);
    let graph = g.finish();
    assert_eq!(graph.nodes.len(), 2);
    assert_eq!(graph.weights.len(), 1);
    assert_eq!(graph.weights[0].name(), "conv.weight");
}

#[test]
fn one_tensor_used_twice_is_one_weight() {
    let g = GraphBuilder::new("test");
    let ids = g.input_u32("ids", &[5]).unwrap();
    let table = weight("table", &[10, 4]);
    let x = g.embedding(&ids, &table).unwrap();
    let logits = g.linear(&x, &table, None).unwrap();
    assert_eq!(logits.shape(), [5, 10]);
    g.output("logits", &logits);
    assert_eq!(g.finish().weights.len(), 1);
}

#[test]
fn misfits_are_named() {
    let g = GraphBuilder::new("test");
    let _scope = g.scope("down_blocks.0");
    let x = g.input("x", &[1, 4, 8]).unwrap();
    let error = g
        .linear(&x, &weight("proj.weight", &[6, 9]), None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("down_blocks.0")
            && error.contains("proj.weight")
            && error.contains("[6, 9]"),
        "{error}"
    );
    assert!(g.attention([&x, &x, &x], 3, 3, 1.0, false).is_err());
    assert!(g.input("huge", &[usize::MAX, 2]).is_err());
    assert!(g.input("empty", &[0, 2]).is_err());
    assert!(g.permute(&x, &[0, 0, 1]).is_err());
    assert!(g.slice(&x, 2, usize::MAX, 2).is_err());
}

#[test]
fn masks_that_do_not_fit_are_named() {
    let g = GraphBuilder::new("test");
    let q = g.input("q", &[3, 5, 8]).unwrap();
    let k = g.input("k", &[3, 7, 4]).unwrap();
    let attend = |mask: &Tensor| g.attention_with_mask([&q, &k, &k], mask, 4, 2, 1.0, false);
    for (at, batch) in [1, 3].into_iter().enumerate() {
        for heads in [1, 4] {
            let name = format!("fitting {at} {heads}");
            let mask = g.input(&name, &[batch, heads, 5, 7]).unwrap();
            assert_eq!(attend(&mask).unwrap().shape(), [3, 5, 8]);
        }
    }
    let misfits: [&[usize]; 8] = [
        &[2, 1, 5, 7],
        &[3, 2, 5, 7],
        &[1, 1, 1, 7],
        &[1, 1, 5, 1],
        &[1, 1, 7, 5],
        &[1, 5, 7],
        &[5, 7],
        &[1, 1, 1, 5, 7],
    ];
    for (at, shape) in misfits.into_iter().enumerate() {
        let mask = g.input(&format!("misfit {at}"), shape).unwrap();
        let error = attend(&mask).unwrap_err().to_string();
        assert!(
            error.contains(&format!("{shape:?}")) && error.contains("[3 or 1, 4 or 1, 5, 7]"),
            "{error}"
        );
    }
    let whole = g.input_u32("whole", &[1, 1, 5, 7]).unwrap();
    assert!(attend(&whole).is_err());
}

#[test]
fn a_view_keeps_what_it_looks_at_alive() {
    let g = GraphBuilder::new("test");
    let x = g.input("x", &[4, 6]).unwrap();
    let y = g.affine(&x, 2.0, 0.0).unwrap();
    let view = g.reshape(&y, &[24]).unwrap();
    let other = g.affine(&x, 3.0, 0.0).unwrap();
    let other = g.reshape(&other, &[24]).unwrap();
    let sum = g.add(&view, &other).unwrap();
    g.output("sum", &sum);
    let graph = g.finish();
    let last = graph.last_uses();
    assert_eq!(last[y.id().0], sum.id().0);
    assert_eq!(graph.storage_of(view.id()), y.id());
    assert_eq!(last[sum.id().0], graph.nodes.len());
}
