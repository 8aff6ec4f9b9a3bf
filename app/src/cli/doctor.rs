//! `diptych doctor`: what this machine offers, and whether this installation is whole.

use std::path::{Path, PathBuf};

use diptych_inference::tools::{
    AdapterReport, KernelCheck, TierReport, TierState, adapters, open_executor, self_test,
};
use serde::Serialize;

use super::args::{Device, DoctorArgs, Global};
use super::client::Client;
use super::error::{CliError, Result};
use super::interrupt::Interrupts;
use super::models::{self, Entry};
use super::out;
use crate::folders;

/// What `--json` gives.
#[derive(Serialize)]
struct Report {
    version: &'static str,
    system: String,
    cpu_threads: usize,
    ram_bytes: Option<u64>,
    adapters: Vec<AdapterReport>,
    engine: Option<EngineReport>,
    /// Every family of kernels on the best GPU against the oracle.
    kernels: Vec<KernelCheck>,
    /// Optional tiers of kernels on that GPU.
    tiers: Vec<TierReport>,
    assets: Option<PathBuf>,
    data: Option<PathBuf>,
    model_folders: Vec<FolderReport>,
    built_in_models: Vec<Entry>,
    /// What is wrong; empty if all is well.
    problems: Vec<String>,
}

/// The engine as `--device` has it.
#[derive(Serialize)]
struct EngineReport {
    executor: &'static str,
    device: String,
    memory_budget_bytes: u64,
}

/// A folder in which models of other programs may lie.
#[derive(Serialize)]
struct FolderReport {
    owner: &'static str,
    path: PathBuf,
    present: bool,
}

/// Looks at everything and tells about it.
///
/// # Errors
/// If something is wrong; the report is printed all the same.
pub fn run(global: &Global, args: &DoctorArgs) -> Result<()> {
    let report = examine(global);
    match args.json {
        true => out::json_pretty(&report)?,
        false => print(&report)?,
    }
    match report.problems.as_slice() {
        [] => Ok(()),
        problems => Err(CliError::Failed(format!(
            "not all is well: {}",
            problems.join("; ")
        ))),
    }
}

fn examine(global: &Global) -> Report {
    let mut problems = Vec::new();
    let engine = start_engine(global)
        .map_err(|error| problems.push(error.to_string()))
        .ok();
    let adapters = adapters();
    let on_gpu = engine
        .as_ref()
        .is_some_and(|engine| engine.executor == "gpu");
    // Where `auto` leaves a software GPU alone, it is tested all the same: somebody may choose it.
    let cache = folders::data(global.data_dir.as_deref())
        .ok()
        .map(|data| folders::cache_of(&data));
    let (kernels, tiers) = match on_gpu || (!adapters.is_empty() && global.device == Device::Auto) {
        true => check_kernels(on_gpu, cache.as_deref(), &mut problems),
        false => (Vec::new(), Vec::new()),
    };
    let assets = folders::assets(global.assets.as_deref())
        .map_err(|error| problems.push(error.to_string()))
        .ok();
    let data = folders::data(global.data_dir.as_deref())
        .map_err(|error| problems.push(error.to_string()))
        .ok();
    let mut built_in_models = Vec::new();
    if let Some(assets) = &assets {
        for name in ["sketch", "muse"] {
            let path = assets.join("models").join(name);
            let found = models::look(&path, "built in");
            if found.is_empty() {
                problems.push(format!("{}: the built-in model is missing", path.display()));
            }
            problems.extend(found.iter().filter_map(|entry| entry.reason.clone()));
            built_in_models.extend(found);
        }
    }
    let model_folders = folders::known_folders()
        .into_iter()
        .map(|folder| FolderReport {
            owner: folder.owner,
            present: folder.path.is_dir(),
            path: folder.path,
        });
    Report {
        version: env!("CARGO_PKG_VERSION"),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cpu_threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        ram_bytes: ram(),
        adapters,
        engine,
        kernels,
        tiers,
        assets,
        data,
        model_folders: model_folders.collect(),
        built_in_models,
        problems,
    }
}

fn start_engine(global: &Global) -> Result<EngineReport> {
    let client = Client::start(global.engine_options()?, Interrupts::none())?;
    let memory = client.memory()?;
    Ok(EngineReport {
        executor: client.executor(),
        device: client.device().to_owned(),
        memory_budget_bytes: memory.budget,
    })
}

/// Computes a little of everything on the best GPU. It is a problem only where the engine would take that GPU.
fn check_kernels(
    matters: bool,
    cache: Option<&Path>,
    problems: &mut Vec<String>,
) -> (Vec<KernelCheck>, Vec<TierReport>) {
    let checks = open_executor(Device::Gpu.into(), None, cache).and_then(|mut gpu| {
        let checks = self_test(gpu.as_mut())?;
        Ok((checks, gpu.tiers()))
    });
    let (checks, tiers) = match checks {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!("the kernels could not be tested: {error}");
            if matters {
                problems.push(format!("the kernels could not be tested: {error}"));
            }
            return (Vec::new(), Vec::new());
        }
    };
    let wrong = checks.iter().filter(|check| !check.passed);
    let wrong: Vec<String> = wrong.map(describe_failure).collect();
    if matters && !wrong.is_empty() {
        problems.push(format!(
            "this GPU computes wrong results ({}); update its driver, or use '--device cpu'",
            wrong.join(", ")
        ));
    }
    (checks, tiers)
}

fn describe_tier(tier: &TierReport) -> String {
    let state = match &tier.state {
        TierState::NotOffered => "not offered by this device".to_owned(),
        TierState::Untried => "not tried yet".to_owned(),
        TierState::Proven {
            formats,
            worst_error,
        } => format!(
            "used; right for {} storage types, worst relative error {worst_error:.1e}",
            formats.len()
        ),
        TierState::Demoted { reason } => format!("not used: {reason}"),
    };
    format!("{}: {state}", tier.name)
}

fn describe_failure(check: &KernelCheck) -> String {
    match (&check.failure, check.error) {
        (Some(failure), _) => format!("{}: {failure}", check.name),
        (None, Some(error)) => format!("{}: relative error {error:.1e}", check.name),
        (None, None) => check.name.clone(),
    }
}

/// Bytes of main memory, where the system tells without a library of its own.
fn ram() -> Option<u64> {
    if cfg!(target_os = "macos") {
        let output = std::process::Command::new("/usr/sbin/sysctl")
            .args(["-n", "hw.memsize"])
            .output()
            .ok()?;
        return String::from_utf8(output.stdout).ok()?.trim().parse().ok();
    }
    let table = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = table
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

fn print(report: &Report) -> Result<()> {
    let row = |key: &str, value: &str| out::line(&format!("{key:<16} {}", out::one_line(value)));
    row(
        "version",
        &format!("Diptych {} on {}", report.version, report.system),
    )?;
    let ram = report.ram_bytes.map_or("unknown".to_owned(), out::bytes);
    row(
        "processor",
        &format!("{} threads, {ram} of memory", report.cpu_threads),
    )?;
    if report.adapters.is_empty() {
        row("adapters", "none found; the CPU computes")?;
    }
    for adapter in &report.adapters {
        print_adapter(adapter, &row)?;
    }
    if let Some(engine) = &report.engine {
        row(
            "engine",
            &format!("{} ({})", engine.device, engine.executor),
        )?;
        row("memory budget", &out::bytes(engine.memory_budget_bytes))?;
    }
    if !report.kernels.is_empty() {
        let right = report.kernels.iter().filter(|check| check.passed);
        let worst = right
            .clone()
            .filter_map(|check| check.error)
            .fold(0.0, f32::max);
        let (right, of) = (right.count(), report.kernels.len());
        row(
            "self-test",
            &format!("{right} of {of} kernels right, worst relative error {worst:.1e}"),
        )?;
        for check in report.kernels.iter().filter(|check| !check.passed) {
            row("  wrong", &describe_failure(check))?;
        }
    }
    for tier in &report.tiers {
        row("tier", &describe_tier(tier))?;
    }
    for (key, folder) in [("assets", &report.assets), ("data", &report.data)] {
        row(
            key,
            &folder.as_ref().map_or("not found".to_owned(), |folder| {
                folder.display().to_string()
            }),
        )?;
    }
    for folder in &report.model_folders {
        let there = if folder.present { "" } else { " (not there)" };
        row(
            "models of",
            &format!("{}: {}{there}", folder.owner, folder.path.display()),
        )?;
    }
    for entry in &report.built_in_models {
        row("built in", &entry.summary())?;
    }
    Ok(())
}

fn print_adapter(adapter: &AdapterReport, row: &dyn Fn(&str, &str) -> Result<()>) -> Result<()> {
    let memory = adapter
        .memory_bytes
        .map_or(String::new(), |bytes| format!(", {}", out::bytes(bytes)));
    let kind = &adapter.kind;
    row(
        "adapter",
        &format!(
            "{} ({kind}, {}{memory}), {}",
            adapter.name, adapter.backend, adapter.driver
        ),
    )?;
    let features = if adapter.features.is_empty() {
        "none".to_owned()
    } else {
        adapter.features.join(", ")
    };
    row("  features", &features)?;
    let [least, most] = adapter.subgroup_sizes;
    row(
        "  limits",
        &format!(
            "binding {}, buffer {}, workgroup {} threads and {}, subgroups {least} to {most}",
            out::bytes(adapter.max_storage_binding),
            out::bytes(adapter.max_buffer),
            adapter.workgroup_invocations,
            out::bytes(u64::from(adapter.workgroup_memory)),
        ),
    )?;
    let use_it = if adapter.hardware {
        "yes"
    } else {
        "no: it is no hardware, and the CPU itself is faster"
    };
    row("  taken by auto", use_it)
}
