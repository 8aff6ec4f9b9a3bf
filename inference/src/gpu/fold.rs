//! Constant folding: what depends on weights alone is computed once, when a plan is made, and is a weight from then on.
//!
//! Models compute most of it while they are read (slices of position embeddings, gains to which one is added); this is for what a graph still
//! writes down.

use std::sync::Arc;

use super::merge::without_unused;
use crate::cpu::{CpuExecutor, CpuMode};
use crate::formats::TensorData;
use crate::graph::{Dtype, ExecError, Executor, Graph, NeverInterrupt, Op, Run, ValueId, WeightId};

/// Bytes of a value beyond which it is computed in every run: it would stay in memory between them.
const MOST_BYTES: usize = 32 << 20;

/// The graph with such values as weights; nothing if it has none, or if they cannot be computed here.
pub fn folded(graph: &Graph) -> Option<Graph> {
    let roots = roots(graph);
    if roots.is_empty() {
        return None;
    }
    match values(graph, &roots) {
        Ok(values) => Some(replaced(graph.clone(), &roots, values)),
        Err(error) => {
            tracing::warn!(
                "{}: constants are computed in every run: {error}",
                graph.name
            );
            None
        }
    }
}

/// The last nodes that depend on weights alone, in the order of the graph. A weight itself is none, nor is it in another shape.
fn roots(graph: &Graph) -> Vec<usize> {
    let mut known = vec![false; graph.nodes.len()];
    let mut computed = known.clone();
    for (index, node) in graph.nodes.iter().enumerate() {
        let of_known = !node.inputs.is_empty()
            && !matches!(node.op, Op::PagedAttention(_))
            && node.dtype == Dtype::F32
            && node.elements().saturating_mul(4) <= MOST_BYTES
            && node.inputs.iter().all(|id| known[id.0]);
        known[index] = of_known || matches!(node.op, Op::Constant { .. });
        computed[index] = of_known
            && (!matches!(node.op, Op::Reshape) || node.inputs.iter().any(|id| computed[id.0]));
    }
    let readers = graph.nodes.iter().zip(&known).filter(|(_, known)| !**known);
    let read = readers.flat_map(|(node, _)| node.inputs.iter());
    let told = graph.outputs.iter().chain(&graph.kept).map(|(_, id)| id);
    let mut roots: Vec<usize> = read
        .chain(told)
        .map(|id| id.0)
        .filter(|&node| computed[node])
        .collect();
    roots.sort_unstable();
    roots.dedup();
    roots
}

/// What these nodes compute.
fn values(graph: &Graph, roots: &[usize]) -> Result<Vec<TensorData>, ExecError> {
    let mut part = graph.clone();
    part.name = format!("constants of {}", graph.name);
    part.kept.clear();
    part.states.clear();
    let named = |&node: &usize| (node.to_string(), ValueId(node));
    part.outputs = roots.iter().map(named).collect();
    let part = Arc::new(without_dead(part, false));
    let mut executor = CpuExecutor::new(CpuMode::Oracle);
    let plan = executor.prepare(part)?;
    let run = Run {
        inputs: &[],
        states: &[],
        interrupt: &mut NeverInterrupt,
    };
    let results = executor.run(plan, run)?;
    let tensors = roots.iter().zip(&results).map(|(&root, result)| {
        let node = &graph.nodes[root];
        TensorData::from_f32(&node.label, &node.shape, result.as_f32())
    });
    tensors
        .collect::<Result<_, _>>()
        .map_err(|error| ExecError::Backend {
            context: "keeping a constant".into(),
            message: error.to_string(),
        })
}

/// The graph with these nodes as weights.
fn replaced(mut graph: Graph, roots: &[usize], values: Vec<TensorData>) -> Graph {
    for (&root, value) in roots.iter().zip(values) {
        let weight = WeightId(graph.weights.len());
        graph.weights.push(value);
        let node = &mut graph.nodes[root];
        node.op = Op::Constant { weight };
        node.inputs.clear();
    }
    without_dead(graph, true)
}

/// The graph without nodes that nothing needs, and the weights of those; `whole` keeps what a run is given, and what it writes into caches.
fn without_dead(mut graph: Graph, whole: bool) -> Graph {
    let mut needed = vec![false; graph.nodes.len()];
    for (_, id) in graph.outputs.iter().chain(&graph.kept) {
        needed[id.0] = true;
    }
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        needed[index] |= whole && matches!(node.op, Op::Input { .. } | Op::PagedAttention(_));
        if needed[index] {
            for id in &node.inputs {
                needed[id.0] = true;
            }
        }
    }
    let mut place = Vec::with_capacity(needed.len());
    let mut next = 0;
    for &needed in &needed {
        place.push(ValueId(next));
        next += usize::from(needed);
    }
    let mut needed = needed.into_iter();
    graph.nodes.retain(|_| needed.next().unwrap_or(true));
    for id in graph.nodes.iter_mut().flat_map(|node| &mut node.inputs) {
        *id = place[id.0];
    }
    for (_, id) in graph.outputs.iter_mut().chain(&mut graph.kept) {
        *id = place[id.0];
    }
    without_unused(graph)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cpu::testing::{Random, run_once, worst_error};
    use crate::gpu::GpuExecutor;
    use crate::gpu::tests::gpu;
    use crate::graph::{GraphBuilder, HostTensor};

    fn names(graph: &Graph) -> Vec<&str> {
        graph.nodes.iter().map(|node| node.op.name()).collect()
    }

    /// `x` plus a table that is made from a weight, times a weight in another shape; the table is a result, too, and one that nobody needs is not.
    fn with_constants(random: &mut Random) -> Graph {
        let weight = |name: &str, shape: &[usize], random: &mut Random| {
            let values = random.floats(shape.iter().product());
            TensorData::from_f32(name, shape, &values).unwrap()
        };
        let g = GraphBuilder::new("constants");
        let x = g.input("x", &[3, 8]).unwrap();
        let turned = weight("turned", &[8, 3], random);
        let turned = g.permute(&g.constant(&turned).unwrap(), &[1, 0]).unwrap();
        let table = g.affine(&turned, 2.0, 0.5).unwrap();
        let sum = g.add(&x, &table).unwrap();
        let flat = g.constant(&weight("flat", &[24], random)).unwrap();
        let product = g.mul(&sum, &g.reshape(&flat, &[3, 8]).unwrap()).unwrap();
        g.output("product", &product);
        g.output("table", &table);
        g.finish()
    }

    #[test]
    fn what_depends_on_weights_alone_is_computed_once() {
        let mut random = Random::fresh("what_depends_on_weights_alone_is_computed_once");
        let graph = with_constants(&mut random);
        let once = folded(&graph).unwrap();
        assert_eq!(
            names(&once),
            ["input", "constant", "add", "constant", "reshape", "mul"]
        );
        assert_eq!(once.weights.len(), 2);
        assert!(folded(&once).is_none());

        let inputs = [("x", HostTensor::f32(vec![3, 8], random.floats(24)))];
        let mut oracle = CpuExecutor::new(CpuMode::Oracle);
        let wanted = run_once(&mut oracle, graph.clone(), &inputs).unwrap();
        let folded = run_once(&mut oracle, once, &inputs).unwrap();
        let device = Arc::clone(gpu().device());
        let [mut folding, apart] =
            [true, false].map(|fuse| GpuExecutor::on(Arc::clone(&device), None).with_fusion(fuse));
        let [less, all] =
            [&folding, &apart].map(|executor| executor.outline(&graph).unwrap().dispatches);
        assert!(less + 2 <= all, "{less} of {all}");
        let got = run_once(&mut folding, graph, &inputs).unwrap();
        for ((wanted, folded), got) in wanted.iter().zip(&folded).zip(&got) {
            assert_eq!(wanted.as_f32(), folded.as_f32());
            assert!(worst_error(got.as_f32(), wanted.as_f32()) < 1e-6);
        }
    }

    #[test]
    fn what_depends_on_nothing_known_stays() {
        let g = GraphBuilder::new("plain");
        let x = g.input("x", &[4]).unwrap();
        let w = TensorData::from_f32("w", &[4], &[1.0; 4]).unwrap();
        let sum = g.add(&x, &g.constant(&w).unwrap()).unwrap();
        g.output("sum", &sum);
        assert!(folded(&g.finish()).is_none());
    }
}
