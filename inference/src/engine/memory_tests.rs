//! The memory governor through the engine: models that do not fit together or by themselves, forecasts, and lost devices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::*;
use crate::cpu::testing::After;
use crate::cpu::{CpuExecutor, CpuMode};
use crate::engine::{
    ChatPrompt, ChatRequest, DeviceChoice, ImageRequest, ModelRef, Outcome, Picture,
};
use crate::gpu::kernels::KernelLimits;
use crate::gpu::{AdapterChoice, GpuDevice, GpuExecutor, LimitPolicy};
use crate::graph::{HostTensor, MemoryUse};
use crate::pipelines::PlanKey;
use crate::text::sampling::SamplingParams;
use crate::text::template::ChatMessage;

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets")
}

/// A worker whose jobs are advanced by hand.
pub(super) struct Hand {
    pub(super) worker: Worker,
    /// An engine without clients stops its jobs.
    _commands: Sender<Command>,
    events: Receiver<Event>,
    pub(super) seen: Vec<Event>,
    models: BTreeMap<String, ModelRef>,
    next: u64,
}

impl Hand {
    pub(super) fn with(device: DeviceChoice, executor: Box<dyn Executor>, budget: u64) -> Self {
        let (commands, receiver) = bounded(1);
        let (sender, events) = bounded(4096);
        let options = EngineOptions {
            device,
            memory_budget: Some(budget),
            assets: assets(),
            cache: None,
            ..EngineOptions::default()
        };
        let mut store = ModelStore::new(executor, Registry::default(), assets());
        // What is written must not depend on how much memory there is.
        store.set_kv_choice(crate::engine::KvChoice::F32);
        let inbox = Inbox {
            receiver,
            waiting: VecDeque::new(),
            closed: false,
        };
        let worker = Worker {
            inbox,
            outbox: Outbox::new(sender),
            queue: Queue::default(),
            store,
            questions: questions::Questions::default(),
            options,
            busy: None,
        };
        let mut hand = Self {
            worker,
            _commands: commands,
            events,
            seen: Vec::new(),
            models: BTreeMap::new(),
            next: 1,
        };
        let paths = ["sketch", "muse"].map(|name| assets().join("models").join(name));
        hand.worker.apply(Command::AddModels(paths.to_vec()));
        hand.look();
        let found = hand.seen.iter().rev().find_map(|event| match event {
            Event::Models(found) => Some(found.clone()),
            _ => None,
        });
        for model in found.unwrap().into_iter().filter_map(|found| found.model) {
            hand.models.insert(model.name.clone(), model);
        }
        hand
    }

    pub(super) fn new(device: DeviceChoice, budget: u64) -> Self {
        let executor: Box<dyn Executor> = match device {
            DeviceChoice::Cpu => Box::new(CpuExecutor::with_budget(CpuMode::Fast, Some(budget))),
            _ => Box::new(gpu(budget)),
        };
        Self::with(device, executor, budget)
    }

    pub(super) fn look(&mut self) {
        self.worker.outbox.settle();
        self.worker.outbox.flush();
        self.seen.extend(self.events.try_iter());
    }

    pub(super) fn model(&self, name: &str) -> ModelRef {
        let found = self.models.iter().find(|(known, _)| known.contains(name));
        found.unwrap().1.clone()
    }

    pub(super) fn submit(&mut self, request: Request) -> JobId {
        let job = JobId(self.next);
        self.next += 1;
        self.worker.apply(Command::Submit {
            job,
            request: Box::new(request),
            place: Place::Back,
        });
        job
    }

    /// How a job ended, if it has.
    pub(super) fn end(&mut self, job: JobId) -> Option<Result<Outcome, String>> {
        self.look();
        self.seen.iter().find_map(|event| match event {
            Event::Finished { job: of, outcome } if *of == job => Some(Ok(outcome.clone())),
            Event::Failed { job: of, failure } if *of == job => Some(Err(failure.message.clone())),
            _ => None,
        })
    }

    pub(super) fn finish(&mut self, job: JobId) -> Result<Outcome, String> {
        loop {
            self.worker.advance(job);
            if let Some(end) = self.end(job) {
                return end;
            }
        }
    }

    pub(super) fn picture(&self, prompt: &str) -> ImageRequest {
        ImageRequest {
            steps: 3,
            guidance: 4.0,
            seed: 7,
            preview: false,
            ..ImageRequest::new(self.model("sketch"), prompt, 64, 64)
        }
    }

    fn draw(&mut self) -> Result<Arc<Picture>, String> {
        let request = Request::Image(self.picture("a red fox"));
        let job = self.submit(request);
        match self.finish(job)? {
            Outcome::Image { picture, .. } => Ok(picture),
            other => panic!("{other:?}"),
        }
    }

    fn talk(&mut self) -> Result<String, String> {
        let request = ChatRequest {
            model: self.model("muse"),
            prompt: ChatPrompt::Messages(vec![ChatMessage::new("user", "a picture of a fox")]),
            sampling: SamplingParams {
                greedy: true,
                ..SamplingParams::default()
            },
            seed: 1,
            max_tokens: 6,
            time: 0,
            stop: Vec::new(),
            grammar: None,
            tools: Vec::new(),
            overflow: crate::engine::Overflow::default(),
            written: None,
        };
        let job = self.submit(Request::Chat(request));
        match self.finish(job)? {
            Outcome::Chat { text, .. } => Ok(text),
            other => panic!("{other:?}"),
        }
    }

    fn memory(&self) -> MemoryUse {
        self.worker.store.memory()
    }
}

pub(super) fn gpu(budget: u64) -> GpuExecutor {
    GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Adapter, Some(budget))
        .expect("these tests need a Vulkan adapter; install mesa-vulkan-drivers")
}

pub(super) const PLENTY: u64 = 1 << 30;

fn assert_forecast(what: &str, memory: MemoryUse) {
    let share = memory.forecast as f64 / memory.peak as f64;
    println!(
        "{what}: forecast {} of peak {}: {share:.3}",
        memory.forecast, memory.peak
    );
    assert!((0.9..=1.1).contains(&share), "{what}: {memory:?}");
    assert!(memory.peak <= memory.budget, "{what}: {memory:?}");
}

#[test]
fn forecasts_are_within_a_tenth_of_what_is_used() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut hand = Hand::new(device, PLENTY);
        hand.draw().unwrap();
        assert_forecast(&format!("sketch on {device:?}"), hand.memory());
        // On top of what the picture left there.
        hand.talk().unwrap();
        assert_forecast(&format!("muse after sketch on {device:?}"), hand.memory());
        let mut hand = Hand::new(device, PLENTY);
        hand.talk().unwrap();
        assert_forecast(&format!("muse on {device:?}"), hand.memory());
    }
}

#[test]
fn models_that_do_not_fit_together_take_turns() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut hand = Hand::new(device, PLENTY);
        let picture = hand.draw().unwrap();
        let of_sketch = hand.memory().peak;
        let text = hand.talk().unwrap();
        let both = hand.memory().peak;
        let mut alone = Hand::new(device, PLENTY);
        assert_eq!(alone.talk().unwrap(), text);
        let of_muse = alone.memory().peak;
        // Room for the larger of them, not for both.
        let budget = of_sketch.max(of_muse) + (both - of_sketch.max(of_muse)) / 2;
        let mut hand = Hand::new(device, budget);
        for _ in 0..2 {
            assert_eq!(hand.draw().unwrap(), picture);
            assert_eq!(hand.talk().unwrap(), text);
        }
        let memory = hand.memory();
        assert_eq!(memory.streamed, 0, "{device:?}: each fits by itself");
        assert!(memory.peak <= budget, "{device:?}: {memory:?}");
    }
}

#[test]
fn a_model_larger_than_the_budget_draws_and_writes_the_same() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut hand = Hand::new(device, PLENTY);
        let picture = hand.draw().unwrap();
        let unet = unet_forecast(Hand::new(device, PLENTY), 2);
        // All of its activations, three fifths of its weights.
        let budget = unet.activations + unet.new_weights / 5 * 3;
        let mut poor = Hand::new(device, budget);
        assert_eq!(
            poor.draw().unwrap(),
            picture,
            "{device:?} in {budget} bytes"
        );
        let memory = poor.memory();
        assert!(memory.peak <= budget, "{device:?}: {memory:?}");
        let streamed = poor.worker.store.most_streamed();
        println!(
            "{device:?}: of {} bytes of weights {streamed} were streamed",
            unet.new_weights
        );
        assert!(streamed > unet.new_weights / 3, "{device:?}: {streamed}");

        let mut hand = Hand::new(device, PLENTY);
        let text = hand.talk().unwrap();
        let whole = hand.memory();
        // Room for other conversations goes first, and half of the weights does not fit then.
        let budget = whole.peak - whole.states / 2 - whole.weights / 2;
        let mut poor = Hand::new(device, budget);
        assert_eq!(poor.talk().unwrap(), text, "{device:?} in {budget} bytes");
        let memory = poor.memory();
        assert!(memory.peak <= budget, "{device:?}: {memory:?}");
        assert!(
            poor.worker.store.most_streamed() > 0,
            "{device:?}: {memory:?}"
        );
    }
}

/// Side of the latents of the test's picture, and length of its context.
pub(super) fn unet_size(hand: &Hand) -> (usize, usize) {
    let mut worker = Hand::new(hand.worker.options.device, PLENTY).worker;
    let model = worker
        .store
        .image_model(&hand.model("sketch"), &mut ())
        .unwrap();
    (64 / model.factor(), model.tokenizer().max_length())
}

/// What the U-Net of sketch takes for so many rows of the test's picture, on an executor where nothing is yet.
fn unet_forecast(mut fresh: Hand, rows: usize) -> crate::graph::MemoryForecast {
    let name = fresh.model("sketch");
    let store = &mut fresh.worker.store;
    let model = store.image_model(&name, &mut ()).unwrap();
    let length = model.tokenizer().max_length();
    let side = 64 / model.factor();
    let graph = model.unet().graph(rows, side, side, length).unwrap();
    store.executor_mut().forecast(&graph)
}

/// The same of its decoder.
fn decoder_forecast(hand: &Hand) -> crate::graph::MemoryForecast {
    let (side, _) = unet_size(hand);
    let mut worker = Hand::new(hand.worker.options.device, PLENTY).worker;
    let model = hand.model("sketch");
    let model = worker.store.image_model(&model, &mut ()).unwrap();
    let graph = model.vae().decode_graph(side, side).unwrap();
    worker.store.executor_mut().forecast(&graph)
}

/// It is used once in a picture: sending its weights anew costs little, and in parts it would see less.
#[test]
fn an_autoencoder_that_does_not_fit_is_streamed_before_it_works_in_parts() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut hand = Hand::new(device, PLENTY);
        let picture = hand.draw().unwrap();
        let (side, _) = unet_size(&hand);
        let decoder = decoder_forecast(&hand);
        let budget = decoder.activations + decoder.new_weights / 5 * 4;
        let mut poor = Hand::new(device, budget);
        assert_eq!(
            poor.draw().unwrap(),
            picture,
            "{device:?} in {budget} bytes"
        );
        let whole = (0, PlanKey::Decode(side, side));
        assert!(poor.worker.store.has_plan("sketch", whole), "{device:?}");
        assert_forecast(&format!("{device:?} in {budget} bytes"), poor.memory());
    }
}

#[test]
fn guidance_goes_row_by_row_where_two_rows_do_not_fit() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        // On a processor that offers Vulkan one row of a small picture takes as much as two: what windows see is laid out in parts of one size.
        let open = |budget| match device {
            DeviceChoice::Cpu => Hand::new(device, budget),
            _ => {
                let executor = gpu(budget);
                let as_of_a_card = KernelLimits::of(&executor.device().limits);
                let executor = executor.with_kernel_limits(as_of_a_card);
                Hand::with(device, Box::new(executor), budget)
            }
        };
        let mut hand = open(PLENTY);
        let picture = hand.draw().unwrap();
        let [one, both] = [1, 2].map(|rows| unet_forecast(open(PLENTY), rows));
        let budget = both.new_weights + (one.activations + both.activations) / 2;
        let mut poor = open(budget);
        let job = poor.submit(Request::Image(poor.picture("a red fox")));
        let step = |event: &Event| matches!(event, Event::Step { .. });
        while !poor.seen.iter().any(step) {
            assert!(poor.end(job).is_none(), "{device:?}");
            poor.worker.advance(job);
            poor.look();
        }
        let (side, length) = unet_size(&hand);
        let rows = |rows| {
            let key = PlanKey::Denoise(rows, side, side, length);
            let name = &poor.model("sketch").name;
            poor.worker.store.has_plan(name, (0, key))
        };
        let told = [rows(1), rows(2)];
        assert_eq!(told, [true, false], "{device:?}: {one:?}, {both:?}");
        assert_eq!(poor.worker.store.most_streamed(), 0, "{device:?}");
        let Outcome::Image { picture: got, .. } = poor.finish(job).unwrap() else {
            panic!("{device:?}: no picture")
        };
        let bytes = picture.rgb.iter().zip(&got.rgb);
        let worst = bytes.map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{device:?}: {worst:?}");
        assert!(
            poor.memory().peak <= budget,
            "{device:?}: {:?}",
            poor.memory()
        );
    }
}

/// Of two rows at once and one by one the results are equal but for rounding: which it is must not depend on what was drawn before.
#[test]
fn what_was_drawn_before_does_not_change_a_picture() {
    let mut hand = Hand::new(DeviceChoice::Cpu, PLENTY);
    let picture = hand.draw().unwrap();
    let mut hand = Hand::new(DeviceChoice::Cpu, PLENTY);
    let mut request = hand.picture("a house");
    request.guidance = 1.0;
    let job = hand.submit(Request::Image(request));
    hand.finish(job).unwrap();
    let name = hand.model("sketch").name;
    let rows = |hand: &Hand, rows: usize| {
        let store = &hand.worker.store;
        let (side, length) = unet_size(hand);
        store.has_plan(&name, (0, PlanKey::Denoise(rows, side, side, length)))
    };
    assert!(rows(&hand, 1) && !rows(&hand, 2));
    assert_eq!(hand.draw().unwrap(), picture);
    assert!(rows(&hand, 2));
}

#[test]
fn what_cannot_be_drawn_at_all_is_said_and_the_next_job_runs() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut hand = Hand::new(device, PLENTY);
        let small = hand.draw().unwrap();
        let budget = hand.memory().peak;
        let mut hand = Hand::new(device, budget);
        let mut request = hand.picture("a house");
        (request.width, request.height) = (640, 640);
        let job = hand.submit(Request::Image(request));
        let error = hand.finish(job).unwrap_err();
        assert!(error.contains("out of memory"), "{error}");
        assert!(hand.memory().peak <= budget, "{:?}", hand.memory());
        // What the failed job took is given up for the next one.
        assert_eq!(hand.draw().unwrap(), small);
    }
}

#[test]
fn the_same_words_are_encoded_once() {
    let mut hand = Hand::new(DeviceChoice::Cpu, PLENTY);
    let first = hand.draw().unwrap();
    let name = hand.model("sketch");
    let store = &mut hand.worker.store;
    let model = store.image_model(&name, &mut ()).unwrap();
    let key = PlanKey::Encode(1, model.tokenizer().max_length(), 0);
    assert!(store.has_plan(&name.name, (0, key)));
    store.reset();
    assert_eq!(hand.draw().unwrap(), first);
    assert!(!hand.worker.store.has_plan(&name.name, (0, key)));
    // Other words are.
    let request = Request::Image(hand.picture("a blue fox"));
    let job = hand.submit(request);
    hand.finish(job).unwrap();
    assert!(hand.worker.store.has_plan(&name.name, (0, key)));
}

#[test]
fn a_device_lost_in_the_middle_changes_nothing_in_the_picture() {
    let mut hand = Hand::new(DeviceChoice::Gpu, PLENTY);
    let wanted = hand.draw().unwrap();
    let device = Arc::new(GpuDevice::open(AdapterChoice::Any, LimitPolicy::Adapter).unwrap());
    let executor = GpuExecutor::on(Arc::clone(&device), Some(PLENTY));
    let mut hand = Hand::with(DeviceChoice::Gpu, Box::new(executor), PLENTY);
    let request = Request::Image(hand.picture("a red fox"));
    let job = hand.submit(request);
    // The beginning, and the first step.
    hand.worker.advance(job);
    hand.worker.advance(job);
    device.lose();
    let Ok(Outcome::Image { picture, .. }) = hand.finish(job) else {
        panic!("the job ended");
    };
    assert_eq!(picture, wanted);
    let lost = |event: &&Event| matches!(event, Event::DeviceLost { .. });
    assert_eq!(hand.seen.iter().filter(lost).count(), 1);
    let built = |event: &&Event| matches!(event, Event::DeviceRebuilt { .. });
    assert_eq!(hand.seen.iter().filter(built).count(), 1);
}

/// Other programs take memory, too, of which the budget knows nothing.
#[test]
fn a_driver_that_runs_out_of_memory_ends_no_picture() {
    let mut hand = Hand::new(DeviceChoice::Gpu, PLENTY);
    let wanted = hand.draw().unwrap();
    // Row by row, or at the host, sums are those of other kernels.
    let assert_same = |picture: &Picture| {
        let both = picture.rgb.iter().zip(&wanted.rgb);
        let worst = both.map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{worst:?}");
    };
    let device = Arc::new(GpuDevice::open(AdapterChoice::Any, LimitPolicy::Adapter).unwrap());
    let executor = GpuExecutor::on(Arc::clone(&device), Some(PLENTY));
    let mut hand = Hand::with(DeviceChoice::Gpu, Box::new(executor), PLENTY);
    let request = Request::Image(hand.picture("a red fox"));
    let job = hand.submit(request);
    // The beginning, and the first step.
    hand.worker.advance(job);
    hand.worker.advance(job);
    device.starve();
    match hand.finish(job) {
        Ok(Outcome::Image { picture, .. }) => assert_same(&picture),
        other => panic!("{other:?}"),
    }
    device.check("afterwards").unwrap();
    assert_same(&hand.draw().unwrap());
}

#[test]
fn loading_can_be_stopped() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut hand = Hand::new(device, PLENTY);
        let request = Request::Image(hand.picture("a red fox"));
        let job = hand.submit(request);
        hand._commands.send(Command::Cancel(job)).unwrap();
        hand.worker.advance(job);
        assert!(hand.end(job).is_none());
        assert_eq!(hand.memory().peak, 0, "{device:?}: nothing was read");
        let command = hand.worker.inbox.waiting.pop_front().unwrap();
        hand.worker.apply(command);
        hand.look();
        let cancelled = |event: &Event| matches!(event, Event::Cancelled { .. });
        assert!(hand.seen.iter().any(cancelled));

        // Between two weights.
        let name = hand.model("sketch");
        let (side, length) = unet_size(&hand);
        let store = &mut hand.worker.store;
        let model = store.image_model(&name, &mut ()).unwrap();
        let graph = Arc::new(model.unet().graph(1, side, side, length).unwrap());
        let executor = store.executor_mut();
        let stopped = executor.make_ready(Arc::clone(&graph), false, &mut After(20));
        assert!(
            matches!(stopped, Err(ExecError::Interrupted)),
            "{device:?}: {stopped:?}"
        );
        assert_eq!(executor.memory().weights, 0, "{device:?}");
        assert_eq!(executor.memory().activations, 0, "{device:?}");
        hand.draw().unwrap();
    }
}

#[test]
fn data_that_a_queued_job_refers_to_are_kept() {
    let mut hand = Hand::new(DeviceChoice::Cpu, PLENTY);
    // Never touched, so that it costs no memory.
    let large = || Arc::new(HostTensor::f32([60 << 20], vec![0.0; 60 << 20]));
    let send = |hand: &mut Hand, hash: &str| {
        let hash = hash.to_owned();
        let data = large();
        hand.worker.apply(Command::Blob { hash, data });
    };
    send(&mut hand, "kept");
    let mut request = hand.picture("a fox");
    request.init = Some(crate::engine::InitPicture {
        picture: crate::engine::BlobRef("kept".into()),
        strength: 0.5,
        mask: None,
    });
    hand.submit(Request::Image(request));
    for hash in ["first", "second", "third"] {
        send(&mut hand, hash);
    }
    let there = |hash: &str| {
        let blob = crate::engine::BlobRef(hash.into());
        hand.worker.store.blob(&blob).is_ok()
    };
    assert!(there("kept") && there("second") && there("third"));
    assert!(!there("first"));
}
