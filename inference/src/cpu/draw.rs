//! The draw of a token from what is told of a row.

use crate::graph::candidates::{CandidateRow, ROW_WORDS};
use crate::graph::draw::{DRAW_WORDS, DrawSettings, MOST_DRAWN_FROM};

/// What [`crate::graph::Op::Draw`] makes of each row of `told [rows, ROW_WORDS]`: the bits of the tokens' numbers into `out [rows]`.
pub fn draw(out: &mut [f32], told: &[f32], settings: &[f32]) {
    let rows = told
        .chunks_exact(ROW_WORDS)
        .zip(settings.chunks_exact(DRAW_WORDS));
    for (out, (words, settings)) in out.iter_mut().zip(rows) {
        // How many tokens there are says only what is not asked for here.
        let row = CandidateRow::read(words, usize::MAX);
        let drawn = row.zip(DrawSettings::read(settings));
        let token = drawn.map_or(0, |(row, settings)| token(row, &settings));
        *out = f32::from_bits(token);
    }
}

/// The token of one row.
fn token(row: CandidateRow, settings: &DrawSettings) -> u32 {
    let mut known = row.tokens;
    known.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let Some(&(best, top)) = known.first() else {
        return 0;
    };
    if settings.temperature < 0.0 {
        return 0;
    }
    if settings.temperature == 0.0 {
        return best;
    }
    let most = match settings.top_k {
        0 => MOST_DRAWN_FROM,
        top_k => top_k,
    };
    known.truncate(most);
    let (top, temperature) = (f64::from(top), f64::from(settings.temperature));
    let weight = |logit: f32, temperature: f64| ((f64::from(logit) - top) / temperature).exp();
    // Whether the row goes on behind what is known, and by how much.
    let mut whole = settings.top_k == 0;
    let total = |known: &[(u32, f32)], whole: bool, temperature: f64| -> f64 {
        if !whole {
            return known
                .iter()
                .map(|(_, logit)| weight(*logit, temperature))
                .sum();
        }
        let parts = row.sums.iter().filter(|part| part.count > 0);
        parts
            .map(|part| {
                let sum = match temperature {
                    1.0 => part.exp,
                    _ => part.exp_at_temperature,
                };
                weight(part.largest, temperature) * f64::from(sum)
            })
            .sum()
    };
    if settings.top_p < 1.0 {
        let goal = f64::from(settings.top_p) * total(&known, whole, 1.0);
        let mut sum = 0.0;
        let reached = known.iter().position(|(_, logit)| {
            sum += weight(*logit, 1.0);
            sum >= goal
        });
        if let Some(place) = reached {
            known.truncate(place + 1);
            whole = false;
        }
    }
    if settings.min_p > 0.0 {
        let kept =
            known.partition_point(|(_, logit)| weight(*logit, 1.0) >= f64::from(settings.min_p));
        if kept < known.len() {
            known.truncate(kept.max(1));
            whole = false;
        }
    }
    let mut left = f64::from(settings.unit) * total(&known, whole, temperature);
    for (token, logit) in &known {
        left -= weight(*logit, temperature);
        if left < 0.0 {
            return *token;
        }
    }
    best
}
