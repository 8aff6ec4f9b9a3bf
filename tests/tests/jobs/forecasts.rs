//! What a job is forecast to take is what it takes, whatever there is to it; and models whose files are replaced.

use std::path::Path;
use std::sync::Arc;

use diptych_inference::engine::{
    BlobRef, Command, DeviceChoice, Event, ImageRequest, Outcome, Picture, Request, UpscaleRequest,
};
use diptych_inference::formats::safetensors::{read_safetensors, write_tensors};
use diptych_inference::formats::{StorageDtype, TensorData};
use diptych_inference::graph::{HostTensor, MemoryUse};
use diptych_tests::{Client, fixture};

use super::{draw, jobs};

fn memory(client: &mut Client) -> MemoryUse {
    client.send(Command::ReportMemory).unwrap();
    client
        .wait(|event| matches!(event, Event::Memory(_)))
        .unwrap();
    match client.events.last() {
        Some(Event::Memory(memory)) => *memory,
        other => panic!("{other:?}"),
    }
}

/// Forecast by what was used.
fn share(client: &mut Client) -> f64 {
    let memory = memory(client);
    memory.forecast as f64 / memory.peak as f64
}

/// Every kind of model and of work that the jobs are: LoRA, ControlNets, second passes with and without an upscaler, base and refiner, pictures to begin
/// from, masks. Each by itself, in an engine that has done nothing before.
fn forecasts(device: DeviceChoice) {
    let (mut faults, mut worst) = (Vec::new(), 0f64);
    for job in jobs() {
        let name = job["name"].as_str().unwrap();
        let mut client = Client::start(device).unwrap();
        draw(&mut client, &job);
        let share = share(&mut client);
        worst = worst.max((share - 1.0).abs());
        if !(0.9..=1.1).contains(&share) {
            faults.push(format!("{name}: forecast {share:.3} of what was used"));
        }
    }
    println!("{device:?}: forecasts at most {:.1} % off", 100.0 * worst);
    assert!(faults.is_empty(), "{device:?}\n{}", faults.join("\n"));
}

#[test]
fn forecasts_are_what_jobs_use_on_the_cpu() {
    forecasts(DeviceChoice::Cpu);
}

#[test]
fn forecasts_are_what_jobs_use_on_the_gpu() {
    forecasts(DeviceChoice::Gpu);
}

/// Weights that are converted while they are loaded, or merged with others, stay in the host's memory beside what the device holds.
#[test]
fn what_is_converted_while_loading_is_forecast_too() {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for job in jobs() {
        let name = job["name"].as_str().unwrap();
        let mut client = Client::start(DeviceChoice::Gpu).unwrap();
        draw(&mut client, &job);
        let memory = memory(&mut client);
        if memory.beside > 0 {
            found.push(name.to_owned());
        }
        let share = memory.beside_forecast as f64 / memory.beside.max(1) as f64;
        if memory.beside > 0 && !(0.9..=1.1).contains(&share) || memory.beside == 0 && share > 0.0 {
            let (beside, forecast) = (memory.beside, memory.beside_forecast);
            faults.push(format!("{name}: {beside} bytes, forecast {forecast}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    println!("with weights beside the device: {found:?}");
    for named in ["lora", "word", "hires-model"] {
        assert!(found.iter().any(|name| name.contains(named)), "{found:?}");
    }
}

#[test]
fn forecasts_of_upscalers_are_what_they_use() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        for file in ["esrgan-x2.safetensors", "esrgan-x4.pth", "srvgg-x4.pth"] {
            let mut client = Client::start(device).unwrap();
            let model = client
                .add_model(&fixture(&format!("upscalers/{file}")))
                .unwrap();
            let data = Arc::new(HostTensor::f32([3, 70, 90], vec![0.5; 3 * 70 * 90]));
            let hash = "flat".to_owned();
            client.send(Command::Blob { hash, data }).unwrap();
            let request = UpscaleRequest {
                model,
                picture: BlobRef("flat".into()),
                tile: None,
                scale: None,
            };
            let job = client.submit(Request::Upscale(request)).unwrap();
            client.result(job).unwrap();
            let share = share(&mut client);
            assert!(
                (0.9..=1.1).contains(&share),
                "{device:?} {file}: {share:.3}"
            );
        }
    }
}

/// ```text
/// diptych models synthesize sd15 FOLDER/sd15.safetensors
/// DIPTYCH_FULL_SIZE=FOLDER cargo test --release --workspace --test jobs full_size -- --ignored --nocapture
/// ```
#[test]
#[ignore = "reads files of gigabytes and takes minutes"]
fn forecasts_of_full_size_are_what_is_used() {
    let folder = std::env::var("DIPTYCH_FULL_SIZE").expect("DIPTYCH_FULL_SIZE names a folder");
    let mut tried = 0;
    for name in ["sd15.safetensors", "sdxl.safetensors"] {
        let path = Path::new(&folder).join(name);
        if !path.is_file() {
            continue;
        }
        tried += 1;
        let mut client = Client::start_roomy(DeviceChoice::Cpu, 16 << 30).unwrap();
        let model = client.add_model(&path).unwrap();
        let request = ImageRequest {
            steps: 1,
            ..ImageRequest::new(model, "a fox", 512, 512)
        };
        let job = client.submit(Request::Image(request)).unwrap();
        client.result(job).unwrap();
        let memory = memory(&mut client);
        println!(
            "{name}: forecast {} MiB, used {} MiB",
            memory.forecast >> 20,
            memory.peak >> 20
        );
        let share = memory.forecast as f64 / memory.peak as f64;
        assert!((0.9..=1.1).contains(&share), "{name}: {share:.3}");
    }
    assert!(tried > 0, "{folder} holds no model of full size");
}

fn picture(client: &mut Client, model: &diptych_inference::engine::ModelRef) -> Arc<Picture> {
    let request = ImageRequest {
        steps: 2,
        ..ImageRequest::new(model.clone(), "a red fox", 40, 32)
    };
    let job = client.submit(Request::Image(request)).unwrap();
    match client.result(job).unwrap() {
        Outcome::Image { picture, .. } => picture,
        other => panic!("{other:?}"),
    }
}

/// As a download that is finished: at once, and later than what was there by the clock of a coarse file system, too.
fn put_in_place(path: &Path, write: impl FnOnce(&Path)) {
    let beside = path.with_extension("new");
    write(&beside);
    let file = std::fs::File::options().write(true).open(&beside).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(10);
    file.set_modified(later).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

/// The program keeps running while a better model is put in the place of one that is loaded.
#[test]
fn a_model_that_was_replaced_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine");
    for part in ["scheduler", "text_encoder", "tokenizer", "unet", "vae"] {
        let (from, to) = (fixture("models/tiny-sd").join(part), path.join(part));
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    let index = "model_index.json";
    let from = fixture("models/tiny-sd").join(index);
    std::fs::copy(from, path.join(index)).unwrap();
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&path).unwrap();
    let before = picture(&mut client, &model);
    assert_eq!(picture(&mut client, &model), before);
    let loads = |client: &Client| {
        let loading = |event: &&Event| matches!(event, Event::Loading { .. });
        client.events.iter().filter(loading).count()
    };
    assert_eq!(loads(&client), 1);

    let weights = path.join("unet/diffusion_pytorch_model.safetensors");
    let tensors: Vec<TensorData> = read_safetensors(&weights)
        .unwrap()
        .tensors
        .iter()
        .map(|(name, tensor)| {
            if name != "conv_out.weight" {
                return tensor.renamed(name);
            }
            let values = tensor.to_f32().unwrap().into_iter();
            let bytes = values.flat_map(|v| half::f16::from_f32(-v).to_le_bytes());
            let dtype = StorageDtype::F16;
            TensorData::new_owned(name, tensor.shape(), dtype, bytes.collect()).unwrap()
        })
        .collect();
    put_in_place(&weights, |path| {
        write_tensors(path, &tensors, &Default::default()).unwrap();
    });
    let after = picture(&mut client, &model);
    assert_ne!(after, before);
    assert_eq!(loads(&client), 2);
    let mut fresh = Client::start(DeviceChoice::Cpu).unwrap();
    let model = fresh.add_model(&path).unwrap();
    assert_eq!(picture(&mut fresh, &model), after);

    // What cannot be used is said.
    put_in_place(&weights, |path| std::fs::write(path, b"nothing").unwrap());
    let request = ImageRequest::new(model.clone(), "a red fox", 40, 32);
    let reason = super::refusal(&mut fresh, Request::Image(request));
    assert!(
        reason.contains("replaced") && reason.contains("mine"),
        "{reason}"
    );
}
