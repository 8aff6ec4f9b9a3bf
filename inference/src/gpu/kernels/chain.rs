//! Chains of element-wise ops: one kernel, whose text is made from the chain.

use diptych_shaders::{Chain, ChainStep, Kernel};

use super::elementwise::{activation_function, groups};
use super::fusion::parametric;
use super::window::{Box4, broadcast_strides, strides_of};
use super::{Arg, ChainLink, ExecError, Lowering, Work, words};
use crate::graph::{BinaryKind, Op};

/// A chain on its way to dispatches.
#[derive(Default)]
struct Links {
    steps: Vec<ChainStep>,
    /// Operands that are met, in order.
    met: Vec<usize>,
    /// Numbers of functions, by their bits.
    numbers: Vec<u32>,
}

impl Lowering<'_, '_> {
    /// The steps of the op and of what it takes over.
    fn links(&self) -> Result<Links, ExecError> {
        let mut first = Vec::with_capacity(2);
        match self.op {
            Op::Unary(kind) => first.push(ChainLink::Apply(*kind)),
            &Op::Binary(kind) => first.push(ChainLink::Meet { kind, operand: 1 }),
            &Op::Gated { activation } => {
                let kind = BinaryKind::Mul;
                first.push(ChainLink::Apply(activation.into()));
                first.push(ChainLink::Meet { kind, operand: 1 });
            }
            _ => return Err(self.unsupported("a chain of ops")),
        }
        let shape = self.operand(0)?;
        let mut links = Links::default();
        for link in first.into_iter().chain(self.context.fusion.links.iter()) {
            let (step, operand) = match link {
                ChainLink::Apply(kind) => {
                    let (function, a, b) = parametric(kind);
                    let step = ChainStep::Apply(function);
                    if step.has_numbers() {
                        links.numbers.extend([a.to_bits(), b.to_bits()]);
                    }
                    (step, None)
                }
                ChainLink::Meet { kind, operand } => {
                    let elements: usize = self.operand(operand)?.iter().product();
                    let spread = elements != shape.iter().product::<usize>();
                    let step = match kind {
                        BinaryKind::Add => ChainStep::Add { spread },
                        BinaryKind::Mul => ChainStep::Multiply { spread },
                    };
                    (step, Some(operand))
                }
                ChainLink::Gate {
                    activation,
                    operand,
                } => {
                    let step = ChainStep::Gate(activation_function(activation));
                    (step, Some(operand))
                }
            };
            links.steps.push(step);
            links.met.extend(operand);
        }
        Ok(links)
    }

    /// An element-wise op with those that follow it.
    pub(super) fn chain(&mut self) -> Result<(), ExecError> {
        let Links {
            steps,
            met,
            numbers,
        } = self.links()?;
        let chain = Chain::new(&steps)
            .ok_or_else(|| self.unsupported(format!("a chain of {} steps", steps.len())))?;
        let shape = self.operand(0)?;
        let own = strides_of(shape);
        let mut strides = vec![own.clone(); 1 + Chain::VALUES];
        let meeting = steps.iter().filter_map(|step| step.meets());
        for ((place, &operand), spread) in strides.iter_mut().skip(1).zip(&met).zip(meeting) {
            if spread {
                let other = self.operand(operand)?;
                *place = broadcast_strides(other, shape)
                    .ok_or_else(|| self.unsupported(format!("{shape:?} and {other:?}")))?;
            }
        }
        let each: [&[usize]; 1 + Chain::VALUES] =
            std::array::from_fn(|value| strides.get(value).unwrap_or(&own).as_slice());
        let whole = Box4::new(shape, [0; 1 + Chain::VALUES], each)
            .ok_or_else(|| self.unsupported(format!("a chain over {shape:?}")))?;
        let limits = *self.limits();
        for part in whole.split(&limits) {
            let elements: usize = part.dims.iter().product();
            let [layout, values @ ..] = part.layouts;
            let window = |arg: Arg, layout: super::window::Layout| {
                limits.window(arg, layout.first, layout.span(part.dims))
            };
            let (y, x) = (window(Arg::Output, layout), window(Arg::Operand(0), layout));
            let mut list = words([elements, y.base, x.base])?.to_vec();
            if chain.spreads() {
                let [_, d1, d2, d3] = part.dims;
                list.extend(words([d1, d2, d3])?);
                list.extend(words(layout.strides)?);
            }
            let mut bindings = vec![y.bound, x.bound];
            let meeting = steps.iter().filter_map(|step| step.meets());
            for ((&operand, spread), layout) in met.iter().zip(meeting).zip(values) {
                let value = window(Arg::Operand(operand), layout);
                list.extend(words([value.base])?);
                if spread {
                    list.extend(words(layout.strides)?);
                }
                bindings.push(value.bound);
            }
            list.extend(&numbers);
            let work = Work {
                groups: groups(elements),
                flops: 4 * (steps.len() * elements) as u64,
            };
            self.push(Kernel::Chain { chain }, &list, bindings, work)?;
        }
        Ok(())
    }
}
