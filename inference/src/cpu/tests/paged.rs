use std::sync::Arc;

use super::*;
use crate::graph::{
    ExecError, KV_PAGE, KvShape, KvType, NO_SLOT, NeverInterrupt, PagedAttentionSpec, PlanId, Run,
    StateId,
};

const HEADS: usize = 6;
const KV_HEADS: usize = 2;
const D: usize = 10;
const LAYER: usize = 1;

struct Cache {
    executor: CpuExecutor,
    state: StateId,
    shape: KvShape,
    softcap: Option<f32>,
    window: Option<usize>,
}

impl Cache {
    fn new(pages: usize) -> Self {
        Self::of_type(pages, KvType::F32)
    }

    fn of_type(pages: usize, kv_type: KvType) -> Self {
        let mut executor = CpuExecutor::new(CpuMode::Fast);
        let shape = KvShape {
            layers: 2,
            kv_heads: KV_HEADS,
            head_dim: D,
            pages,
            kv_type,
        };
        let state = executor.create_kv(shape).unwrap();
        Self {
            executor,
            state,
            shape,
            softcap: None,
            window: None,
        }
    }

    fn plan(&mut self, rows: usize, sequences: usize, max_pages: usize) -> PlanId {
        let g = GraphBuilder::new("decoder");
        let state = g.kv_state(self.shape);
        let q = g.input("q", &[rows, HEADS * D]).unwrap();
        let [k, v] = ["k", "v"].map(|name| g.input(name, &[rows, KV_HEADS * D]).unwrap());
        let [p, w, s] = ["positions", "write_slots", "sequences"]
            .map(|name| g.input_u32(name, &[rows]).unwrap());
        let tables = g
            .input_u32("block_tables", &[sequences, max_pages])
            .unwrap();
        let spec = PagedAttentionSpec {
            state,
            layer: LAYER,
            heads: HEADS,
            scale: 0.3,
            softcap: self.softcap,
            window: self.window,
        };
        let out = g
            .paged_attention([&q, &k, &v], [&p, &w, &s, &tables], spec)
            .unwrap();
        g.output("out", &out);
        self.executor.prepare(Arc::new(g.finish())).unwrap()
    }

    fn run(&mut self, plan: PlanId, inputs: &[(&str, HostTensor)]) -> Result<Vec<f32>, ExecError> {
        let run = Run {
            inputs,
            states: &[self.state],
            interrupt: &mut NeverInterrupt,
        };
        Ok(self.executor.run(plan, run)?.remove(0).into_f32())
    }
}

/// One row: sequence, position, and its place in that sequence's q, k and v; `None` for padding.
type Row = Option<(usize, usize)>;

struct Sequence {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    pages: Vec<u32>,
    len: usize,
}

impl Sequence {
    fn wanted(&self) -> Vec<f32> {
        let operands = [&self.q[..], &self.k, &self.v];
        narrow(&super::attention::reference(
            operands,
            [1, self.len, self.len],
            [HEADS, KV_HEADS, D],
            0.3,
            true,
        ))
    }
}

fn inputs(
    sequences: &[Sequence],
    rows: &[Row],
    max_pages: usize,
) -> Vec<(&'static str, HostTensor)> {
    let take = |width: usize, of: &dyn Fn(&Sequence) -> Vec<f32>| -> Vec<f32> {
        let row = |row: &Row| {
            row.map_or(vec![7.0; width], |(s, p)| {
                of(&sequences[s])[p * width..][..width].to_vec()
            })
        };
        rows.iter().flat_map(row).collect()
    };
    let n = rows.len();
    let integers = |of: &dyn Fn(usize, usize) -> u32, padding: u32| -> HostTensor {
        HostTensor::u32(
            [n],
            rows.iter()
                .map(|row| row.map_or(padding, |(s, p)| of(s, p)))
                .collect(),
        )
    };
    let slot = |s: usize, p: usize| {
        sequences[s].pages[p / KV_PAGE] * KV_PAGE as u32 + (p % KV_PAGE) as u32
    };
    // Table entries behind the last page are never read: fill them with nonsense.
    let table = |s: &Sequence| {
        (0..max_pages)
            .map(|i| s.pages.get(i).copied().unwrap_or(u32::MAX))
            .collect::<Vec<_>>()
    };
    vec![
        (
            "q",
            HostTensor::f32([n, HEADS * D], take(HEADS * D, &|s| s.q.clone())),
        ),
        (
            "k",
            HostTensor::f32([n, KV_HEADS * D], take(KV_HEADS * D, &|s| s.k.clone())),
        ),
        (
            "v",
            HostTensor::f32([n, KV_HEADS * D], take(KV_HEADS * D, &|s| s.v.clone())),
        ),
        ("positions", integers(&|_, p| p as u32, NO_SLOT)),
        ("write_slots", integers(&slot, NO_SLOT)),
        ("sequences", integers(&|s, _| s as u32, u32::MAX)),
        (
            "block_tables",
            HostTensor::u32(
                [sequences.len(), max_pages],
                sequences.iter().flat_map(table).collect(),
            ),
        ),
    ]
}

fn sequences(random: &mut Random, lengths: &[usize], pages: usize) -> Vec<Sequence> {
    let mut free: Vec<u32> = (0..pages as u32).collect();
    random.shuffle(&mut free);
    let make = |&len: &usize| Sequence {
        q: random.floats(len * HEADS * D),
        k: random.floats(len * KV_HEADS * D),
        v: random.floats(len * KV_HEADS * D),
        pages: free.split_off(free.len() - len.div_ceil(KV_PAGE)),
        len,
    };
    lengths.iter().map(make).collect()
}

#[test]
fn chunks_over_shuffled_pages_equal_plain_causal_attention() {
    let mut random = Random::fresh("chunks_over_shuffled_pages_equal_plain_causal_attention");
    let mut cache = Cache::new(23);
    let sequences = sequences(&mut random, &[333, 64, 130], 23);
    let wanted: Vec<Vec<f32>> = sequences.iter().map(Sequence::wanted).collect();
    let mut done = [0; 3];
    // Rows of all sequences mixed, in batches of any size, some of them padding: what a scheduler might do.
    while (0..3).any(|s| done[s] < sequences[s].len) {
        let mut rows: Vec<Row> = Vec::new();
        for _ in 0..random.within(1, 4) {
            let s = random.within(0, 2);
            let count = random.within(0, 90).min(sequences[s].len - done[s]);
            rows.extend((done[s]..done[s] + count).map(|p| Some((s, p))));
            done[s] += count;
            if random.within(0, 1) == 1 {
                rows.push(None);
            }
        }
        rows.push(None);
        let plan = cache.plan(rows.len(), 3, 7);
        let got = cache.run(plan, &inputs(&sequences, &rows, 7)).unwrap();
        cache.executor.drop_plan(plan);
        for (row, got) in rows.iter().zip(got.chunks(HEADS * D)) {
            match row {
                Some((s, p)) => {
                    let error = worst_error(got, &wanted[*s][p * HEADS * D..][..HEADS * D]);
                    assert!(error < CLOSE, "sequence {s}, position {p}: {error}");
                }
                None => assert!(
                    got.iter().all(|&value| value == 0.0),
                    "a padding row gives zeros"
                ),
            }
        }
    }
}

/// One row alone goes another way through the cache than a chunk of many.
#[test]
fn one_row_over_caches_of_every_type_equals_a_chunk() {
    let mut random = Random::fresh("one_row_over_caches_of_every_type_equals_a_chunk");
    let given = sequences(&mut random, &[333], 6);
    let wanted = given[0].wanted();
    let width = HEADS * D;
    for (kv_type, close) in [
        (KvType::F32, CLOSE),
        (KvType::F16, 1e-3),
        (KvType::Q8, 2e-2),
    ] {
        let mut cache = Cache::of_type(6, kv_type);
        let rows: Vec<Row> = (0..333).map(|p| Some((0, p))).collect();
        let plan = cache.plan(333, 1, 6);
        let all = cache.run(plan, &inputs(&given, &rows, 6)).unwrap();
        assert!(worst_error(&all, &wanted) < close, "{kv_type:?}");
        let plan = cache.plan(1, 1, 6);
        for p in [0, 1, 62, 63, 64, 200, 332] {
            let one = cache
                .run(plan, &inputs(&given, &[Some((0, p))], 6))
                .unwrap();
            let error = worst_error(&one, &all[p * width..][..width]);
            assert!(error < CLOSE, "{kv_type:?}, position {p}: {error}");
        }
    }
}

#[test]
fn padding_rows_write_nothing_and_a_page_can_be_copied() {
    let mut random = Random::fresh("padding_rows_write_nothing_and_a_page_can_be_copied");
    let mut cache = Cache::new(4);
    let mut given = sequences(&mut random, &[70], 4);
    let wanted = given[0].wanted();
    let all: Vec<Row> = (0..70).map(|p| Some((0, p))).collect();
    let plan = cache.plan(70, 1, 2);
    cache.run(plan, &inputs(&given, &all, 2)).unwrap();
    // Only padding: with a slot to write to it would overwrite slot 0 of some page.
    cache
        .run(plan, &inputs(&given, &vec![None; 70], 2))
        .unwrap();

    // The first page is copied, and the original is overwritten; the copy serves in its place.
    let original = given[0].pages[0];
    let copy = (0..4).find(|page| !given[0].pages.contains(page)).unwrap();
    cache
        .executor
        .copy_kv_page(cache.state, original, copy)
        .unwrap();
    given[0].pages[0] = copy;
    let last = cache.plan(2, 1, 2);
    let mut row = inputs(&given, &[Some((0, 69)), None], 2);
    // The padding row writes nonsense into the original page: a row without position may still be written.
    let slots: Vec<u32> = vec![
        given[0].pages[1] * KV_PAGE as u32 + 5,
        original * KV_PAGE as u32,
    ];
    row[4].1 = HostTensor::u32([2], slots);
    let got = cache.run(last, &row).unwrap();
    assert!(worst_error(&got[..HEADS * D], &wanted[69 * HEADS * D..]) < CLOSE);

    // Back on the original, whose first position now holds nonsense, the result differs.
    given[0].pages[0] = original;
    let got = cache
        .run(last, &inputs(&given, &[Some((0, 69)), None], 2))
        .unwrap();
    assert!(worst_error(&got[..HEADS * D], &wanted[69 * HEADS * D..]) > 1e-3);
    assert!(cache.executor.copy_kv_page(cache.state, 0, 4).is_err());
    assert!(cache.executor.copy_kv_page(cache.state, 4, 0).is_err());
}

#[test]
fn indices_out_of_range_are_named_errors() {
    let mut random = Random::fresh("indices_out_of_range_are_named_errors");
    let mut cache = Cache::new(2);
    let given = sequences(&mut random, &[3], 2);
    let plan = cache.plan(3, 1, 1);
    let rows: Vec<Row> = (0..3).map(|p| Some((0, p))).collect();
    let good = inputs(&given, &rows, 1);
    cache.run(plan, &good).unwrap();
    let cases = [
        (3, "positions", vec![0, 1, 64]),
        (4, "write_slots", vec![0, 1, 128]),
        (5, "sequences", vec![0, 0, 1]),
        (6, "block_tables", vec![2]),
    ];
    for (place, name, values) in cases {
        let mut bad = good.clone();
        bad[place].1 = HostTensor::u32([values.len()], values);
        if place == 6 {
            bad[place].1.shape = vec![1, 1];
        }
        let error = cache.run(plan, &bad).unwrap_err();
        assert!(
            matches!(&error, ExecError::Input { name: found, .. } if found == name),
            "{name}: {error}"
        );
    }
    cache.run(plan, &good).unwrap();
}

/// Attention of one sequence with a window and a soft cap, computed plainly.
fn windowed(s: &Sequence, window: usize, cap: f64) -> Vec<f32> {
    let mut out = Vec::new();
    for row in 0..s.len {
        for head in 0..HEADS {
            let kv = head / (HEADS / KV_HEADS) * D;
            let part = |of: &[f32], width: usize, at: usize| -> Vec<f64> {
                of[at * width..][..width]
                    .iter()
                    .map(|v| f64::from(*v))
                    .collect()
            };
            let q = part(&s.q, HEADS * D, row);
            let seen = (row + 1).saturating_sub(window)..row + 1;
            let weights: Vec<f64> = seen
                .clone()
                .map(|at| {
                    let k = part(&s.k, KV_HEADS * D, at);
                    let score: f64 = (0..D).map(|e| q[head * D + e] * k[kv + e]).sum();
                    (cap * (score * f64::from(0.3f32) / cap).tanh()).exp()
                })
                .collect();
            let total: f64 = weights.iter().sum();
            out.extend((0..D).map(|e| {
                let values = seen.clone().map(|at| part(&s.v, KV_HEADS * D, at)[kv + e]);
                let sum: f64 = values.zip(&weights).map(|(v, w)| v * w).sum();
                (sum / total) as f32
            }));
        }
    }
    out
}

#[test]
fn windows_and_soft_caps() {
    let mut random = Random::fresh("windows_and_soft_caps");
    for window in [1, 40, 64, 65, 300, 1000] {
        let mut cache = Cache::new(9);
        (cache.window, cache.softcap) = (Some(window), Some(0.4));
        let given = sequences(&mut random, &[530], 9);
        let wanted = windowed(&given[0], window, f64::from(0.4f32));
        // In chunks, so that tiles begin anywhere before and within the window.
        let mut from = 0;
        for len in [1, 130, 64, 33, 302] {
            let rows: Vec<Row> = (from..from + len).map(|p| Some((0, p))).collect();
            let plan = cache.plan(len, 1, 9);
            let got = cache.run(plan, &inputs(&given, &rows, 9)).unwrap();
            let width = HEADS * D;
            let error = worst_error(&got, &wanted[from * width..][..len * width]);
            assert!(error < CLOSE, "window {window}, from {from}: {error}");
            from += len;
        }
    }
}
