//! What a plan would do, told without making it.

use std::collections::BTreeMap;

use super::executor::GpuExecutor;
use super::kernels::Arg;
use crate::graph::{ExecError, Graph};

/// The dispatches of a plan, and what they move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Dispatches of one run.
    pub dispatches: usize,
    /// Dispatches by the name of their kernel.
    pub kernels: BTreeMap<String, usize>,
    /// Bytes of values that all dispatches together are bound to, scratch memory included: what goes to memory and back beside the weights.
    pub moved: u64,
    /// Bytes of the arenas that hold values.
    pub arenas: u64,
}

impl GpuExecutor {
    /// What a plan of a graph would do on this device.
    ///
    /// # Errors
    /// If the graph cannot be run on it.
    pub fn outline(&self, graph: &Graph) -> Result<Outline, ExecError> {
        let compiled = self.compile(&self.merged(graph))?;
        let mut outline = Outline {
            dispatches: compiled.steps.len(),
            arenas: compiled.arenas.iter().sum(),
            ..Outline::default()
        };
        for step in &compiled.steps {
            let name = step.dispatch.kernel.name();
            *outline.kernels.entry(name).or_default() += 1;
            // What stands in for a binding that is not used is no byte that is moved.
            let mut seen: Vec<Arg> = Vec::with_capacity(step.dispatch.bindings.len());
            for bound in &step.dispatch.bindings {
                let is_value = matches!(bound.arg, Arg::Operand(_) | Arg::Output | Arg::Scratch(_));
                if is_value && !seen.contains(&bound.arg) {
                    seen.push(bound.arg);
                    outline.moved += bound.range.end - bound.range.start;
                }
            }
        }
        Ok(outline)
    }
}
