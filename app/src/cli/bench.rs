//! `diptych bench`: how fast models run here, beside what this machine could do at best.

use std::path::PathBuf;

use clap::Args;
use diptych_inference::tools::{
    BenchError, BenchOptions, ExecError, Kind, ModelReport, OpReport, Report, StorageDtype,
    Watcher, Workload, run_bench,
};

use super::args::{Global, size};
use super::client::check_readable;
use super::error::{CliError, Result};
use super::interrupt::Interrupts;
use super::out;
use super::synthesize::{self, kind, quant};
use super::table::Table;
use crate::folders;

/// Rows of a table of ops that are shown to people; JSON has them all.
const ROWS: usize = 8;

/// `diptych bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Measure this model; may be repeated (default: the built-in ones)
    #[arg(short, long, value_name = "PATH")]
    pub model: Vec<PathBuf>,
    /// Measure a model with random weights of this kind, as 'diptych models synthesize' writes it; may be repeated
    #[arg(long, value_name = "KIND", value_parser = kind)]
    pub synthetic: Vec<Kind>,
    /// Type of the synthetic models' matrices (default: Q8_0, of picture models F16)
    #[arg(long, value_name = "TYPE", value_parser = quant, requires = "synthetic")]
    pub quant: Option<StorageDtype>,
    /// Where synthetic models lie while they are measured (default: the system's folder for such files)
    #[arg(long, value_name = "FOLDER", requires = "synthetic")]
    pub scratch: Option<PathBuf>,
    /// Size of pictures, as 512x512 (default: what the model was trained at)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub size: Option<(u32, u32)>,
    /// Tokens in the prompts that are read (default: 128,512); fewer where even those take minutes
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = prompt)]
    pub prompts: Vec<usize>,
    /// Measure single ops too, on the CPU beside candle's own; `--ops=TEXT` only those whose name has the text in it
    #[arg(
        long,
        value_name = "TEXT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    pub ops: Option<String>,
    /// Measure less, in under a minute for the built-in models
    #[arg(long)]
    pub quick: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Tokens of a prompt: at least two, since one is what writing measures.
fn prompt(text: &str) -> std::result::Result<usize, String> {
    match text.trim().parse() {
        Ok(tokens @ 2..=131_072) => Ok(tokens),
        _ => Err("give numbers from 2 to 131072, such as 32,128".into()),
    }
}

/// Tells on stderr what is measured, and stops at Ctrl+C.
struct Terminal {
    interrupts: Interrupts,
    quiet: bool,
    stopped: bool,
}

impl Watcher for Terminal {
    fn next(&mut self, what: &str) {
        if !self.quiet {
            out::remark(&format!("measuring {what}"));
        }
    }

    fn stop(&mut self) -> bool {
        self.stopped |= self.interrupts.pressed().try_recv().is_ok();
        self.stopped
    }
}

/// Measures and prints.
///
/// # Errors
/// Models that cannot be used, a device that is not there, Ctrl+C.
pub fn run(global: &Global, args: &BenchArgs) -> Result<()> {
    let interrupts = Interrupts::install()?;
    let mut models = args.model.clone();
    for model in &models {
        check_readable(model)?;
    }
    // Given back, with the files in it, at the end whatever happens.
    let scratch = match (&args.scratch, args.synthetic.as_slice()) {
        (_, []) => None,
        (Some(folder), _) => Some(tempfile::tempdir_in(folder).map_err(CliError::failed)?),
        (None, _) => Some(tempfile::tempdir().map_err(CliError::failed)?),
    };
    for (&kind, folder) in args.synthetic.iter().zip(scratch.iter().cycle()) {
        let quant = args.quant.unwrap_or(kind.default_quant());
        let name = format!("{} {quant}.{}", kind.name(), kind.extension());
        let path = folder.path().join(name);
        synthesize::write(&path, kind, quant, 0, &interrupts)?;
        models.push(path);
    }
    let engine = global.engine_options()?;
    let assets = engine.assets;
    if models.is_empty() && args.ops.is_none() {
        let folder = folders::assets(global.assets.as_deref()).map_err(CliError::failed)?;
        models.extend(["muse/muse.gguf", "sketch"].map(|name| folder.join("models").join(name)));
    }
    let options = BenchOptions {
        device: global.device.into(),
        memory: engine.memory_budget,
        models,
        assets,
        quick: args.quick,
        ops: args.ops.clone(),
        size: args.size,
        prompts: args.prompts.clone(),
    };
    interrupts.listen();
    let mut watcher = Terminal {
        interrupts,
        quiet: args.json && global.verbose == 0,
        stopped: false,
    };
    let report = run_bench(&options, &mut watcher).map_err(|error| match error {
        BenchError::Exec(ExecError::Interrupted) => CliError::Interrupted,
        error => CliError::failed(error),
    })?;
    match args.json {
        true => out::json_pretty(&report),
        false => print(&report),
    }
}

fn print(report: &Report) -> Result<()> {
    let row = |key: &str, value: &str| out::line(&format!("{key:<12} {}", out::one_line(value)));
    let device = &report.device;
    row("device", &device.name)?;
    if let Some(driver) = &device.driver {
        row("driver", driver)?;
    }
    row("kernels", &device.tier)?;
    let limits = &report.limits;
    let load = report
        .load_average
        .map_or(String::new(), |load| format!("; load average {load:.1}"));
    row(
        "at best",
        &format!(
            "{} read from memory, {} in f32, by loops of our own just now{load}",
            rate(limits.bandwidth, "B/s"),
            rate(limits.flops, "FLOP/s"),
        ),
    )?;
    for model in &report.models {
        out::line("")?;
        print_model(model, &row)?;
    }
    if !report.ops.is_empty() {
        out::line("")?;
        print_ops(&report.ops)?;
    }
    out::line("")?;
    row("measured in", &out::seconds(report.seconds as f32))
}

/// What a line of a key and a value is printed by.
type Row<'a> = &'a dyn Fn(&str, &str) -> Result<()>;

fn print_model(model: &ModelReport, row: Row<'_>) -> Result<()> {
    row(
        "model",
        &format!(
            "{}: {}, {}",
            model.name,
            model.description,
            out::bytes(model.file_bytes)
        ),
    )?;
    row(
        "load",
        &format!(
            "{} ({} to open, {} to prepare its plans)",
            seconds(model.load_seconds()),
            seconds(model.open_seconds),
            seconds(model.prepare_seconds)
        ),
    )?;
    if let Some(upload) = model.upload {
        let beside = model.plain_read.map_or(String::new(), |plain| {
            format!("; the file alone is read at {}", rate(plain, "B"))
        });
        row("weights", &format!("sent at {}{beside}", rate(upload, "B")))?;
    }
    let memory = &model.memory;
    let off = 100.0 * (memory.forecast as f64 / memory.peak.max(1) as f64 - 1.0);
    let resident = memory.resident.map_or(String::new(), |bytes| {
        format!("; the process grew by {}", out::bytes(bytes))
    });
    row(
        "memory",
        &format!(
            "{} foreseen, {} used ({off:+.1} %){resident}",
            out::bytes(memory.forecast),
            out::bytes(memory.peak)
        ),
    )?;
    out::line("")?;
    let mut table = Table::new(&[
        "",
        "Speed",
        "Median",
        "Best",
        "Runs",
        "Of peak",
        "Of bandwidth",
        "Graph",
        "Plan",
        "Dispatches",
        "Submits",
        "Host each",
        "Idle",
        "Read",
    ]);
    for work in &model.workloads {
        table.row(workload_cells(work));
    }
    table.print()?;
    for work in &model.workloads {
        let Some(profile) = &work.profile else {
            continue;
        };
        out::line("")?;
        out::line(&format!(
            "{}: {} of ops by {}",
            work.name,
            seconds(profile.seconds),
            profile.clock
        ))?;
        let mut table = Table::new(&[
            "Share", "Time", "Op", "Kernel", "Count", "FLOP/s", "Bytes/s",
        ]);
        for op in profile.rows.iter().take(ROWS) {
            table.row([
                percent(op.share),
                seconds(op.seconds),
                op.op.clone(),
                op.kernel.clone(),
                op.count.to_string(),
                rate(op.flops_per_second, ""),
                rate(op.bytes_per_second, "B/s"),
            ]);
        }
        table.print()?;
    }
    Ok(())
}

fn workload_cells(work: &Workload) -> Vec<String> {
    let speed = match work.unit.as_str() {
        "tokens" => format!("{:.1} tok/s", work.per_second),
        unit => format!("{} a {}", seconds(work.seconds), unit.trim_end_matches('s')),
    };
    vec![
        work.name.clone(),
        speed,
        seconds(work.seconds),
        seconds(work.best_seconds),
        work.runs.to_string(),
        percent(work.flops_share),
        percent(work.bandwidth_share),
        seconds(work.graph_seconds),
        work.plan_seconds.map_or("-".to_owned(), seconds),
        work.dispatches
            .map_or("-".to_owned(), |count| count.to_string()),
        work.submits
            .map_or("-".to_owned(), |count| count.to_string()),
        work.host_us_per_dispatch
            .map_or("-".to_owned(), |each| format!("{each:.2} us")),
        work.host_idle_us_per_dispatch
            .map_or("-".to_owned(), |each| format!("{each:.2} us")),
        work.bytes_read.map_or("-".to_owned(), out::bytes),
    ]
}

fn print_ops(ops: &[OpReport]) -> Result<()> {
    let mut table = Table::new(&["Op", "Time", "FLOP/s", "candle", "Ours is"]);
    for op in ops {
        table.row([
            op.name.clone(),
            seconds(op.seconds),
            rate(op.flops_per_second, ""),
            op.candle_seconds.map_or("-".to_owned(), seconds),
            op.candle_seconds.map_or("-".to_owned(), |candle| {
                format!("{:.2} times as fast", candle / op.seconds)
            }),
        ]);
    }
    table.print()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A time with three digits and the unit that suits it.
fn seconds(time: f64) -> String {
    match time {
        t if t < 1e-3 => format!("{:.1} us", t * 1e6),
        t if t < 1.0 => format!("{:.2} ms", t * 1e3),
        t => format!("{t:.2} s"),
    }
}

/// A rate with the unit's thousandfold that suits it.
fn rate(value: f64, unit: &str) -> String {
    const THOUSANDS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut value, mut step) = (value, 0);
    while value >= 1000.0 && step + 1 < THOUSANDS.len() {
        value /= 1000.0;
        step += 1;
    }
    format!("{value:.1} {}{unit}", THOUSANDS[step])
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(seconds(1.5e-5), "15.0 us");
        assert_eq!(seconds(0.0123), "12.30 ms");
        assert_eq!(seconds(12.0), "12.00 s");
        assert_eq!(rate(34.12e9, "B/s"), "34.1 GB/s");
        assert_eq!(rate(950.0, ""), "950.0");
        assert_eq!(percent(0.613), "61.3 %");
    }
}
