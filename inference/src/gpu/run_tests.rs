//! Runs that are begun before they are asked for: their results are those of runs that are not, whatever comes next.

use std::sync::Arc;

use crate::cpu::testing::Random;
use crate::formats::StorageDtype;
use crate::gpu::{AdapterChoice, GpuExecutor, LimitPolicy};
use crate::graph::candidates::EXTRAS;
use crate::graph::draw::{DRAW_WORDS, DrawSettings};
use crate::graph::{
    ExecError, Executor, Graph, GraphBuilder, HostData, HostTensor, NO_SLOT, NeverInterrupt, Next,
    PlanId, Run,
};
use crate::synthesize::random_tensor;

const TOKENS: usize = 700;
const WIDTH: usize = 64;

/// A model that tells of a token, and of a number beside it, what comes next.
fn model() -> Graph {
    let g = GraphBuilder::new("next token");
    let ids = g.input_u32("ids", &[1]).unwrap();
    let beside = g.input("beside", &[1, WIDTH]).unwrap();
    let extras = g.input_u32("extras", &[1, EXTRAS]).unwrap();
    let temperatures = g.input("inverse_temperatures", &[1]).unwrap();
    let settings = g.input("draw", &[1, DRAW_WORDS]).unwrap();
    let table = random_tensor("table", &[TOKENS, WIDTH], StorageDtype::F32, 3).unwrap();
    let hidden = random_tensor("hidden", &[WIDTH, WIDTH], StorageDtype::F32, 4).unwrap();
    let mut x = g.embedding(&ids, &table).unwrap();
    x = g.add(&x, &beside).unwrap();
    for _ in 0..4 {
        x = g.add(&x, &g.linear(&x, &hidden, None).unwrap()).unwrap();
    }
    let logits = g.linear(&x, &table, None).unwrap();
    let logits = g.affine(&logits, 4.0, 0.0).unwrap();
    let told = g
        .candidates(&logits, &extras, &temperatures, TOKENS)
        .unwrap();
    g.output("candidates", &told);
    g.output("drawn", &g.draw(&told, &settings).unwrap());
    g.keep("logits", &logits);
    g.finish()
}

type Inputs = Vec<(&'static str, HostTensor)>;

/// What run number `run` is given beside its token.
fn beside(run: usize) -> Inputs {
    let settings = DrawSettings {
        top_k: 40,
        top_p: 0.95,
        min_p: 0.02,
        temperature: 1.0,
        unit: (run as f32 * 0.618_034).fract(),
    };
    let values = (0..WIDTH).map(|i| ((run * 7 + i) as f32).sin()).collect();
    vec![
        ("beside", HostTensor::f32([1, WIDTH], values)),
        (
            "extras",
            HostTensor::u32([1, EXTRAS], vec![NO_SLOT; EXTRAS]),
        ),
        ("inverse_temperatures", HostTensor::f32([1], vec![1.0])),
        (
            "draw",
            HostTensor::f32([1, DRAW_WORDS], settings.words().to_vec()),
        ),
    ]
}

fn with_token(mut inputs: Inputs, token: u32) -> Inputs {
    inputs.push(("ids", HostTensor::u32([1], vec![token])));
    inputs
}

fn drawn(results: &[HostTensor]) -> u32 {
    match &results[1].data {
        HostData::U32(tokens) => tokens[0],
        HostData::F32(_) => panic!("tokens are integers"),
    }
}

/// An executor with the model; the device is the same for all.
struct Bed {
    gpu: GpuExecutor,
    plan: PlanId,
}

impl Bed {
    fn new(ahead: bool) -> Self {
        let gpu = GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Adapter, Some(1 << 28));
        let mut gpu = gpu.unwrap().with_foresight(ahead);
        assert_eq!(gpu.runs_ahead(), ahead);
        let plan = gpu.prepare(Arc::new(model())).unwrap();
        Self { gpu, plan }
    }

    /// Run number `run`, which is told that the one with a number comes next.
    fn run(&mut self, run: usize, token: u32, next: Option<usize>) -> Vec<HostTensor> {
        let inputs = with_token(beside(run), token);
        let run = Run {
            inputs: &inputs,
            states: &[],
            interrupt: &mut NeverInterrupt,
        };
        match next {
            None => self.gpu.run(self.plan, run).unwrap(),
            Some(next) => {
                let next = beside(next);
                let next = Next {
                    inputs: &next,
                    input: "ids",
                    output: "drawn",
                };
                self.gpu.run_then(self.plan, run, &next).unwrap()
            }
        }
    }

    /// Runs that were begun, and of these those that were taken up.
    fn begun(&self) -> (u64, u64) {
        let told = self.gpu.host_time().unwrap();
        (told.begun_runs, told.taken_up)
    }
}

#[test]
fn a_run_that_was_begun_gives_what_it_would_have_given() {
    let _turn = crate::gpu::tests::gpu();
    let (mut ahead, mut plain) = (Bed::new(true), Bed::new(false));
    let (mut token, mut tokens) = (5, Vec::new());
    for run in 0..80 {
        let got = ahead.run(run, token, Some(run + 1));
        let wanted = plain.run(run, token, None);
        assert_eq!(got, wanted, "run {run}");
        // What it keeps is there although the next is under way; asking for it now and then must not disturb what follows.
        if run % 13 == 4 {
            let kept = ahead.gpu.read_kept(ahead.plan, 0, 0).unwrap();
            let wanted = plain.gpu.read_kept(plain.plan, 0, 0).unwrap();
            assert_eq!(kept, wanted, "kept by run {run}");
        }
        token = drawn(&got);
        tokens.push(token);
    }
    tokens.sort_unstable();
    tokens.dedup();
    assert!(tokens.len() > 4, "the same few tokens: {tokens:?}");
    assert_eq!(plain.begun(), (0, 0));
    let (begun, taken) = ahead.begun();
    println!("{begun} begun, {taken} taken up");
    // All but the first ones and those that are measured; those after a look were begun in vain.
    assert!(begun >= 60 && taken + 8 >= begun, "{begun} {taken}");
}

#[test]
fn what_comes_otherwise_is_run_as_if_nothing_had_been_begun() {
    let _turn = crate::gpu::tests::gpu();
    let mut random = Random::fresh("what_comes_otherwise");
    let (mut ahead, mut plain) = (Bed::new(true), Bed::new(false));
    let other = ahead.gpu.prepare(Arc::new(model())).unwrap();
    let mut token = 5;
    for run in 0..120 {
        let surprise = random.within(0, 9);
        if surprise == 1 {
            // Another token than the one that was drawn.
            token = random.within(0, TOKENS - 1) as u32;
        }
        // Another number than what was said.
        let number = if surprise == 2 { run + 1000 } else { run };
        let next = (surprise != 3).then_some(run + 1);
        let got = ahead.run(number, token, next);
        let wanted = plain.run(number, token, None);
        assert_eq!(got, wanted, "run {run}, {surprise}");
        if surprise == 4 {
            // Another plan in between.
            let plan = std::mem::replace(&mut ahead.plan, other);
            let got = ahead.run(run, 9, Some(run + 1));
            assert_eq!(got, plain.run(run, 9, None));
            ahead.plan = plan;
        }
        token = drawn(&got);
    }
    let (begun, taken) = ahead.begun();
    println!("{begun} begun, {taken} taken up");
    assert!(taken < begun && taken > 5, "{begun} {taken}");
}

#[test]
fn what_is_not_of_the_plan_is_refused() {
    let _turn = crate::gpu::tests::gpu();
    let mut bed = Bed::new(true);
    for run in 0..8 {
        bed.run(run, 1, None);
    }
    let inputs = with_token(beside(8), 1);
    let mut short = beside(9);
    short.pop();
    let whole = beside(9);
    for (next, input, output) in [
        (&short, "ids", "drawn"),
        (&whole, "id", "drawn"),
        (&whole, "ids", "tokens"),
        (&whole, "ids", "candidates"),
    ] {
        let run = Run {
            inputs: &inputs,
            states: &[],
            interrupt: &mut NeverInterrupt,
        };
        let next = Next {
            inputs: next,
            input,
            output,
        };
        let refused = bed.gpu.run_then(bed.plan, run, &next);
        assert!(
            matches!(refused, Err(ExecError::Input { .. })),
            "{input} {output}: {refused:?}"
        );
    }
    assert_eq!(bed.run(8, 1, Some(9)).len(), 2);
}
