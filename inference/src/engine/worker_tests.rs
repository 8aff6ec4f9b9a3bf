//! What the worker does when jobs misbehave: panics, lost devices, failures.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Sender, bounded};

use super::*;
use crate::engine::{DeviceChoice, Outcome, Picture};

/// A job that does what a script says, a word a step.
struct Scripted {
    script: VecDeque<&'static str>,
    lost: Arc<AtomicU32>,
    released: Arc<Mutex<Vec<JobId>>>,
    job: JobId,
}

fn outcome() -> Outcome {
    let picture = Arc::new(Picture {
        width: 0,
        height: 0,
        rgb: Vec::new(),
    });
    let request = serde_json::from_str(
        r#"{"chat":{"model":{"name":"m"},"prompt":{"raw":""},"sampling":{},"seed":0,"max_tokens":1}}"#,
    );
    Outcome::Image {
        picture,
        request: Box::new(request.unwrap()),
        seconds: 0.0,
    }
}

impl Pipeline for Scripted {
    fn step(&mut self, _: &mut Context<'_>) -> Result<Progress, JobError> {
        match self.script.pop_front() {
            Some("work") => Ok(Progress::Working),
            Some("panic") => panic!("scripted panic"),
            Some("lose") => Err(JobError::Exec(ExecError::DeviceLost {
                reason: "scripted".into(),
            })),
            Some("fail") => Err(JobError::Request("scripted failure".into())),
            _ => Ok(Progress::Finished(outcome())),
        }
    }

    fn partial(&mut self, _: &mut Context<'_>) -> Option<Outcome> {
        panic!("scripted panic while gathering")
    }

    fn device_lost(&mut self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn release(&mut self, _: &mut ModelStore) {
        self.released.lock().unwrap().push(self.job);
    }
}

struct Stage {
    worker: Worker,
    commands: Sender<Command>,
    events: Receiver<Event>,
    lost: Arc<AtomicU32>,
    released: Arc<Mutex<Vec<JobId>>>,
}

fn stage(scripts: &[(u64, &[&'static str])]) -> Stage {
    let (commands, receiver) = bounded(16);
    let (sender, events) = bounded(256);
    let options = EngineOptions {
        device: DeviceChoice::Cpu,
        ..EngineOptions::default()
    };
    let executor = pipelines::open_executor(options.device, Some(1 << 28), None).unwrap();
    let store = ModelStore::new(executor, Registry::default(), options.assets.clone());
    let inbox = Inbox {
        receiver,
        waiting: VecDeque::new(),
        closed: false,
    };
    let mut worker = Worker {
        inbox,
        outbox: Outbox::new(sender),
        queue: Queue::default(),
        store,
        questions: questions::Questions::default(),
        options,
        busy: None,
    };
    let (lost, released) = (Arc::default(), Arc::default());
    for (job, script) in scripts {
        let job = JobId(*job);
        let script = script.iter().copied().collect();
        let pipeline = Scripted {
            script,
            lost: Arc::clone(&lost),
            released: Arc::clone(&released),
            job,
        };
        worker.enqueue(job, Box::new(pipeline), false, Place::Back);
    }
    Stage {
        worker,
        commands,
        events,
        lost,
        released,
    }
}

/// The ends of all jobs, in order: number and word.
fn ends(events: &Receiver<Event>) -> Vec<(u64, String)> {
    events
        .try_iter()
        .filter_map(|event| match event {
            Event::Finished { job, .. } => Some((job.0, "finished".into())),
            Event::Failed { job, failure } => {
                Some((job.0, format!("{} {}", failure.message, failure.bug)))
            }
            Event::Cancelled { job, .. } => Some((job.0, "cancelled".into())),
            _ => None,
        })
        .collect()
}

#[test]
fn a_panic_ends_one_job_and_the_next_runs() {
    let Stage {
        worker,
        commands,
        events,
        released,
        ..
    } = stage(&[(1, &["work", "panic"]), (2, &["fail"]), (3, &["work"])]);
    let thread = std::thread::Builder::new()
        .spawn(move || worker.run())
        .unwrap();
    let mut all = Vec::new();
    while all.len() < 3 {
        all.append(&mut ends(&events));
        std::thread::sleep(Duration::from_millis(1));
    }
    commands.send(Command::Shutdown).unwrap();
    thread.join().unwrap();
    assert_eq!(all[0].0, 1);
    assert!(
        all[0].1.contains("scripted panic") && all[0].1.ends_with("true"),
        "{all:?}"
    );
    assert_eq!(all[1], (2, "scripted failure false".into()));
    assert_eq!(all[2], (3, "finished".into()));
    assert_eq!(
        *released.lock().unwrap(),
        [1, 2, 3].map(JobId),
        "every job gave back what it held"
    );
}

#[test]
fn a_lost_device_is_opened_again_and_the_job_goes_on() {
    let Stage {
        mut worker,
        events,
        lost,
        ..
    } = stage(&[(1, &["work", "lose", "work", "lose"]), (2, &[])]);
    for _ in 0..5 {
        worker.advance(JobId(1));
    }
    assert_eq!(
        lost.load(Ordering::Relaxed),
        4,
        "both jobs were told, twice"
    );
    let events: Vec<Event> = events.try_iter().collect();
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, Event::DeviceLost { .. })), 2);
    assert_eq!(
        count(|event| matches!(event, Event::DeviceRebuilt { .. })),
        2
    );
    assert_eq!(count(|event| matches!(event, Event::Finished { .. })), 1);
}

#[test]
fn a_job_that_loses_every_device_is_given_up() {
    let Stage {
        mut worker, events, ..
    } = stage(&[(1, &["lose", "lose", "lose", "lose"])]);
    for _ in 0..4 {
        worker.advance(JobId(1));
    }
    let ends = ends(&events);
    assert_eq!(ends.len(), 1);
    assert!(ends[0].1.contains("three times"), "{ends:?}");
}

#[test]
fn a_panic_while_cancelling_loses_only_the_partial_result() {
    let Stage {
        mut worker, events, ..
    } = stage(&[(1, &["work"; 9]), (2, &[])]);
    worker.advance(JobId(1));
    worker.apply(Command::Cancel(JobId(1)));
    worker.apply(Command::Cancel(JobId(7)));
    worker.advance(JobId(2));
    assert_eq!(
        ends(&events),
        [(1, "cancelled".into()), (2, "finished".into())]
    );
}
