//! Kernels whose text is made from what they do: chains of element-wise steps.
//!
//! A chain says which steps there are and in what order, not with which numbers: those are in the uniform block, so that chains that do the same
//! share a pipeline.

use crate::Function;

/// What becomes of the value `v` of each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChainStep {
    /// A function of it; its parameters `a` and `b`, if it has any, are in the uniform block.
    Apply(Function),
    /// The next value that is met is added.
    Add {
        /// Whether that value is broadcast.
        spread: bool,
    },
    /// The next value that is met is multiplied with.
    Multiply {
        /// Whether that value is broadcast.
        spread: bool,
    },
    /// A function of the next value that is met is multiplied with.
    Gate(Function),
}

impl ChainStep {
    /// Whether another value is met, and if so, whether that is broadcast.
    pub fn meets(self) -> Option<bool> {
        match self {
            Self::Apply(_) => None,
            Self::Add { spread } | Self::Multiply { spread } => Some(spread),
            Self::Gate(_) => Some(false),
        }
    }

    /// Whether there are two numbers in the uniform block for it.
    pub fn has_numbers(self) -> bool {
        matches!(
            self,
            Self::Apply(Function::Affine | Function::Clamp | Function::LeakyRelu)
        )
    }

    fn name(self) -> String {
        match self {
            Self::Apply(function) => format!("{function:?}").to_lowercase(),
            Self::Add { spread: false } => "add".to_owned(),
            Self::Add { spread: true } => "add_spread".to_owned(),
            Self::Multiply { spread: false } => "mul".to_owned(),
            Self::Multiply { spread: true } => "mul_spread".to_owned(),
            Self::Gate(function) => format!("by_{function:?}").to_lowercase(),
        }
    }
}

/// Steps that are done one after the other in one kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chain {
    steps: [Option<ChainStep>; Self::STEPS],
}

impl Chain {
    /// Most steps; what is longer goes on in another kernel.
    pub const STEPS: usize = 8;
    /// Most values that are met: with the operand and the result they are seven storage buffers.
    pub const VALUES: usize = 5;
    /// Words that every chain has.
    const WORDS: usize = 5;
    /// Words for places in a box.
    const BOX_WORDS: usize = 7;

    /// The chain of these steps; nothing if they are too many, or meet too many values.
    pub fn new(given: &[ChainStep]) -> Option<Self> {
        let mut chain = Self::default();
        let meeting = given.iter().filter(|step| step.meets().is_some()).count();
        if given.len() > Self::STEPS || meeting > Self::VALUES {
            return None;
        }
        for (place, step) in chain.steps.iter_mut().zip(given) {
            *place = Some(*step);
        }
        Some(chain)
    }

    /// Its steps.
    pub fn steps(&self) -> impl Iterator<Item = ChainStep> + '_ {
        self.steps.iter().flatten().copied()
    }

    /// Values that are met.
    pub fn values(&self) -> usize {
        self.steps().filter_map(ChainStep::meets).count()
    }

    /// Whether any of them is broadcast.
    pub fn spreads(&self) -> bool {
        self.steps()
            .filter_map(ChainStep::meets)
            .any(|spread| spread)
    }

    /// Words of the uniform block: the grid's width and height, the number of elements, where the result and the operand begin; if a value is
    /// broadcast, the last three lengths of the box, and four strides in the operand; for each value that is met the place of its first
    /// element and, if it is broadcast, four strides; two numbers for each function that has them.
    pub fn uniform_words(&self) -> usize {
        let places: usize = self
            .steps()
            .filter_map(ChainStep::meets)
            .map(|spread| if spread { 5 } else { 1 })
            .sum();
        let numbers = self.steps().filter(|step| step.has_numbers()).count();
        let boxed = if self.spreads() { Self::BOX_WORDS } else { 0 };
        Self::WORDS + boxed + places + 2 * numbers
    }

    pub(crate) fn name(&self) -> String {
        let mut name = "chain".to_owned();
        for step in self.steps() {
            name.push(' ');
            name.push_str(&step.name());
        }
        name
    }

    /// Chains that between them have every kind of step, for tests of all kernels.
    pub(crate) fn samples() -> Vec<Self> {
        use ChainStep::{Add, Apply, Gate, Multiply};
        let functions = [
            Function::Silu,
            Function::Gelu,
            Function::GeluTanh,
            Function::QuickGelu,
            Function::Relu,
            Function::Tanh,
            Function::Affine,
            Function::Clamp,
        ];
        let (met, spread) = (Add { spread: false }, Multiply { spread: true });
        [
            functions.map(Apply).to_vec(),
            vec![Apply(Function::LeakyRelu), met],
            vec![spread, Add { spread: true }, Multiply { spread: false }],
            vec![met, met, met, Gate(Function::Gelu), spread],
        ]
        .iter()
        .filter_map(|steps| Self::new(steps))
        .collect()
    }

    /// The parts of the text that are its own, by name.
    pub(crate) fn parts(&self) -> [(&'static str, String); 3] {
        let (mut params, mut numbers) = (String::new(), String::new());
        let (mut values, mut body) = (String::new(), String::new());
        let mut value = 0;
        for (index, step) in self.steps().enumerate() {
            let met = format!("m{value}");
            if let Some(spread) = step.meets() {
                params.push_str(&format!("    {met}_base: u32,\n"));
                let place = if spread {
                    for axis in 0..4 {
                        params.push_str(&format!("    {met}_s{axis}: u32,\n"));
                    }
                    let terms = [0, 1, 2, 3].map(|axis| format!("i{axis} * p.{met}_s{axis}"));
                    terms.join(" + ")
                } else {
                    "at".to_owned()
                };
                let binding = 3 + value;
                values.push_str(&format!(
                    "@group(0) @binding({binding}) var<storage, read> {met}: array<f32>;\n"
                ));
                body.push_str(&format!(
                    "    let v{met} = {met}[p.{met}_base + {place}];\n"
                ));
                value += 1;
            }
            let (a, b) = (format!("p.a{index}"), format!("p.b{index}"));
            if step.has_numbers() {
                numbers.push_str(&format!("    a{index}: f32,\n    b{index}: f32,\n"));
            }
            let result = match step {
                ChainStep::Apply(function) => applied(function, "v", &a, &b),
                ChainStep::Add { .. } => format!("v + v{met}"),
                ChainStep::Multiply { .. } => format!("v * v{met}"),
                ChainStep::Gate(function) => {
                    format!(
                        "v * {}",
                        applied(function, &format!("v{met}"), "1.0", "0.0")
                    )
                }
            };
            body.push_str(&format!("    v = {result};\n"));
        }
        params.push_str(&numbers);
        [
            ("chain_params", params),
            ("chain_values", values),
            ("chain_steps", body),
        ]
    }
}

/// A function of `x`, in WGSL.
fn applied(function: Function, x: &str, a: &str, b: &str) -> String {
    match function {
        Function::Silu => format!("silu({x})"),
        Function::Gelu => format!("gelu({x})"),
        Function::GeluTanh => format!("gelu_tanh({x})"),
        Function::QuickGelu => format!("quick_gelu({x})"),
        Function::Relu => format!("max({x}, 0.0)"),
        Function::Tanh => format!("tanh_safe({x})"),
        Function::Affine => format!("({x} * {a} + {b})"),
        Function::Clamp => format!("min(max({x}, {a}), {b})"),
        Function::LeakyRelu => format!("(max({x}, 0.0) + {a} * min({x}, 0.0))"),
        Function::Same => x.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_have_bounds() {
        let add = ChainStep::Add { spread: true };
        assert!(Chain::new(&[add; 6]).is_none());
        assert!(Chain::new(&[ChainStep::Apply(Function::Relu); 9]).is_none());
        let affine = ChainStep::Apply(Function::Affine);
        let longest = Chain::new(&[add, add, add, add, add, affine, affine, affine]).unwrap();
        assert!(longest.uniform_words() <= 64);
        assert_eq!((longest.values(), longest.spreads()), (5, true));
        assert_eq!(
            Chain::new(&[add, affine]).unwrap().name(),
            "chain add_spread affine"
        );
    }
}
