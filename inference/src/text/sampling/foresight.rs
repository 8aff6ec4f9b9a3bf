//! What a device can know of choices to come: by what it would draw them itself.

use super::TokenSampler;
use super::params::SamplingStage;
use crate::graph::draw::{DrawSettings, MOST_DRAWN_FROM};

impl TokenSampler {
    /// By what the choice is drawn that comes after `later` others (0: the next). `None` where its steps are others than a device's, or in another order, or
    /// look at the tokens before it; the device then cannot foresee it.
    #[must_use]
    pub fn draw_settings(&self, later: usize) -> Option<DrawSettings> {
        let params = &self.params;
        if params.greedy {
            return Some(DrawSettings::BEST);
        }
        if !params.logit_bias.is_empty() {
            return None;
        }
        let mut settings = DrawSettings {
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            temperature: 1.0,
            unit: 0.0,
        };
        let mut before = 0;
        for &stage in &params.order {
            let place = match stage {
                SamplingStage::TopK if params.top_k > 0 => {
                    settings.top_k = params.top_k;
                    1
                }
                SamplingStage::TopP if params.top_p < 1.0 => {
                    settings.top_p = params.top_p;
                    2
                }
                SamplingStage::MinP if params.min_p > 0.0 => {
                    settings.min_p = params.min_p;
                    3
                }
                SamplingStage::Temperature => {
                    settings.temperature = params.temperature;
                    4
                }
                SamplingStage::Penalties if params.penalises() => return None,
                SamplingStage::Dry if params.dry_multiplier != 0.0 => return None,
                SamplingStage::TopNSigma if params.top_n_sigma > 0.0 => return None,
                SamplingStage::Typical if params.typical_p < 1.0 => return None,
                SamplingStage::Xtc if params.may_exclude() => return None,
                // Switched off.
                _ => continue,
            };
            if place < before {
                return None;
            }
            before = place;
        }
        if settings.top_k > MOST_DRAWN_FROM {
            return None;
        }
        if !params.is_still() {
            let mut coming = self.clone();
            coming.skip(later);
            settings.unit = coming.rng.unit_f64() as f32;
        }
        Some(settings)
    }
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::Random;
    use crate::cpu::{CpuExecutor, CpuMode};
    use crate::graph::candidates::{EXTRAS, ROW_WORDS};
    use crate::graph::draw::{DRAW_WORDS, MOST_DRAWN_FROM};
    use crate::graph::{
        Executor, GraphBuilder, HostData, HostTensor, NO_SLOT, NeverInterrupt, Run,
    };
    use crate::text::sampling::{SamplingParams, SamplingStage, TokenSampler};
    use std::sync::Arc;

    /// The tokens that an executor draws of rows.
    fn drawn(logits: &[Vec<f32>], samplers: &[TokenSampler]) -> Vec<u32> {
        let (rows, width) = (logits.len(), logits[0].len());
        let g = GraphBuilder::new("drawn");
        let x = g.input("x", &[rows, width]).unwrap();
        let extras = g.input_u32("extras", &[rows, EXTRAS]).unwrap();
        let temperatures = g.input("temperatures", &[rows]).unwrap();
        let settings = g.input("settings", &[rows, DRAW_WORDS]).unwrap();
        let told = g.candidates(&x, &extras, &temperatures, width).unwrap();
        assert_eq!(told.shape(), [rows, ROW_WORDS]);
        g.output("drawn", &g.draw(&told, &settings).unwrap());
        let mut executor = CpuExecutor::new(CpuMode::Fast);
        let plan = executor.prepare(Arc::new(g.finish())).unwrap();
        let words = |sampler: &TokenSampler| sampler.draw_settings(0).unwrap().words();
        let settings: Vec<f32> = samplers.iter().flat_map(words).collect();
        let inverse = samplers.iter().map(TokenSampler::inverse_temperature);
        let inputs = [
            ("x", HostTensor::f32([rows, width], logits.concat())),
            (
                "extras",
                HostTensor::u32([rows, EXTRAS], vec![NO_SLOT; rows * EXTRAS]),
            ),
            (
                "temperatures",
                HostTensor::f32([rows], inverse.collect::<Vec<f32>>()),
            ),
            ("settings", HostTensor::f32([rows, DRAW_WORDS], settings)),
        ];
        let run = Run {
            inputs: &inputs,
            states: &[],
            interrupt: &mut NeverInterrupt,
        };
        match &executor.run(plan, run).unwrap()[0].data {
            HostData::U32(tokens) => tokens.to_vec(),
            HostData::F32(_) => panic!("tokens are integers"),
        }
    }

    fn params(random: &mut Random) -> SamplingParams {
        let mut one = |values: &[f32]| values[random.within(0, values.len() - 1)];
        SamplingParams {
            top_k: one(&[0.0, 1.0, 5.0, 40.0, 200.0]) as usize,
            top_p: one(&[0.3, 0.9, 0.95, 1.0]),
            min_p: one(&[0.0, 0.01, 0.05, 0.5]),
            temperature: one(&[0.0, 0.5, 0.8, 1.0, 1.7]),
            alternatives: 0,
            ..SamplingParams::default()
        }
    }

    #[test]
    fn what_is_foreseen_is_what_is_chosen() {
        let mut random = Random::fresh("what_is_foreseen_is_what_is_chosen");
        let mut differ = 0;
        for _ in 0..6 {
            let rows = 50;
            let logits: Vec<Vec<f32>> = (0..rows)
                .map(|_| {
                    // Peaked and flat rows.
                    let scale = 1.0 + 12.0 * random.float().abs();
                    random.floats(3001).iter().map(|x| scale * x).collect()
                })
                .collect();
            let samplers: Vec<TokenSampler> = (0..rows)
                .map(|row| TokenSampler::new(params(&mut random), row as u64).unwrap())
                .collect();
            let foreseen = drawn(&logits, &samplers);
            for ((mut sampler, logits), foreseen) in samplers.into_iter().zip(&logits).zip(foreseen)
            {
                let settings = sampler.params().clone();
                let chosen = sampler.sample(logits, &[]).unwrap().id;
                // Where nothing bounds the tail, or a bound leaves many of a flat row, more than the best can be chosen.
                let best = logits.iter().copied().fold(f32::MIN, f32::max);
                let left = (logits.iter()).filter(|x| (*x - best).exp() >= settings.min_p);
                let bounded = settings.top_k > 0 || left.count() <= MOST_DRAWN_FROM;
                let same = chosen == foreseen;
                assert!(
                    same || !bounded || settings.temperature > 0.0,
                    "{settings:?}"
                );
                differ += usize::from(!same && bounded);
            }
        }
        // A number that falls between two tokens by less than 32 bits tell: rare.
        assert!(differ <= 2, "{differ} of 300");
    }

    #[test]
    fn later_choices_are_foreseen_with_their_own_numbers() {
        let mut random = Random::fresh("later_choices_are_foreseen");
        let seed = random.within(0, 1 << 20) as u64;
        let mut sampler = TokenSampler::new(SamplingParams::default(), seed).unwrap();
        let foreseen: Vec<_> = (0..5).map(|later| sampler.draw_settings(later)).collect();
        for foreseen in &foreseen {
            assert_eq!(sampler.draw_settings(0), *foreseen);
            sampler.sample(&random.floats(100), &[]).unwrap();
        }
        assert_ne!(foreseen[0], foreseen[1]);
    }

    #[test]
    fn what_looks_at_other_tokens_or_has_other_steps_is_not_foreseen() {
        let of = |change: &dyn Fn(&mut SamplingParams)| {
            let mut params = SamplingParams::default();
            change(&mut params);
            TokenSampler::new(params, 1).unwrap().draw_settings(0)
        };
        assert!(of(&|_| {}).is_some());
        assert!(of(&|p| p.greedy = true).is_some());
        assert!(of(&|p| p.top_k = 256).is_some());
        let others: [&dyn Fn(&mut SamplingParams); 10] = [
            &|p| p.repetition_penalty = 1.1,
            &|p| p.frequency_penalty = 0.1,
            &|p| p.dry_multiplier = 0.8,
            &|p| p.top_n_sigma = 1.0,
            &|p| p.typical_p = 0.9,
            &|p| p.xtc_probability = 0.5,
            &|p| p.logit_bias = vec![(3, 1.0)],
            &|p| p.top_k = 257,
            &|p| p.order = vec![SamplingStage::Temperature, SamplingStage::TopK],
            &|p| p.order = vec![SamplingStage::MinP, SamplingStage::TopP],
        ];
        for (place, other) in others.into_iter().enumerate() {
            assert_eq!(of(other), None, "{place}");
        }
        // What is left out of the order does nothing.
        let left_out = of(&|p| {
            p.repetition_penalty = 1.5;
            p.order = vec![SamplingStage::TopP];
        });
        let left_out = left_out.unwrap();
        assert_eq!((left_out.top_k, left_out.temperature), (0, 1.0));
    }
}
