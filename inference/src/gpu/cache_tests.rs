//! What is kept on disk between runs of the program, and tiers that must prove themselves.

use std::sync::Arc;

use super::self_test::few_attend;
use super::*;
use crate::cpu::testing::{Random, worst_error};
use crate::cpu::{CpuExecutor, CpuMode};
use crate::formats::{StorageDtype, TensorData};
use crate::graph::{
    Executor, Graph, GraphBuilder, HostTensor, KvType, NeverInterrupt, Run, TierState,
};

/// A decoder's product with one row, and one with many.
fn graph(random: &mut Random, dtype: StorageDtype) -> Graph {
    let g = GraphBuilder::new("products");
    let x = g.input("x", &[1, 512]).unwrap();
    let elements = 96 * 512;
    let bytes = match dtype {
        StorageDtype::Q8_0 => (0..elements / 32)
            .flat_map(|_| {
                let mut block = half::f16::from_f32(0.01).to_le_bytes().to_vec();
                block.extend((0..32).map(|_| random.bits() as u8));
                block
            })
            .collect(),
        _ => random
            .floats(elements)
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
    };
    let weight = TensorData::new_owned("w", &[96, 512], dtype, bytes).unwrap();
    g.output("y", &g.linear(&x, &weight, None).unwrap());
    g.finish()
}

fn run(executor: &mut dyn Executor, graph: &Graph, x: &HostTensor) -> HostTensor {
    let plan = executor.prepare(Arc::new(graph.clone())).unwrap();
    let run = Run {
        inputs: &[("x", x.clone())],
        states: &[],
        interrupt: &mut NeverInterrupt,
    };
    executor.run(plan, run).unwrap().remove(0)
}

fn open() -> GpuExecutor {
    let _turn = super::tests::gpu();
    GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Adapter, Some(1 << 28)).unwrap()
}

#[test]
fn compiled_kernels_and_proofs_are_found_again() {
    let mut random = Random::fresh("compiled_kernels_and_proofs_are_found_again");
    let folder = tempfile::tempdir().unwrap();
    let graph = graph(&mut random, StorageDtype::Q8_0);
    let x = HostTensor::f32([1, 512], random.floats(512));
    let mut seconds = Vec::new();
    let mut results = Vec::new();
    for turn in 0..2 {
        let started = std::time::Instant::now();
        let mut gpu = open().with_cache(folder.path());
        let offered = gpu
            .device()
            .features
            .contains(wgpu::Features::PIPELINE_CACHE);
        assert_eq!(gpu.loaded_pipelines() > 0, offered && turn == 1);
        let tiers = gpu.tiers();
        match (&tiers[0].state, turn) {
            (TierState::NotOffered, _) => {}
            (TierState::Untried, 0) => {}
            (TierState::Proven { formats, .. }, 1) => assert_eq!(formats, &["q8_0"]),
            other => panic!("{other:?}"),
        }
        results.push(run(&mut gpu, &graph, &x));
        seconds.push(started.elapsed().as_secs_f32());
    }
    println!("first {} s, again {} s", seconds[0], seconds[1]);
    assert_eq!(results[0], results[1]);
    // Files that are damaged are made again.
    let mut damaged = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 0x55;
        std::fs::write(&path, bytes).unwrap();
        damaged += 1;
    }
    let mut gpu = open().with_cache(folder.path());
    assert_eq!(gpu.loaded_pipelines(), 0);
    assert_eq!(run(&mut gpu, &graph, &x), results[0]);
    let again = open().with_cache(folder.path());
    let offered = gpu
        .device()
        .features
        .contains(wgpu::Features::PIPELINE_CACHE);
    assert_eq!(again.loaded_pipelines() > 0, offered, "{damaged} files");
}

#[test]
fn subgroup_products_equal_the_oracle_and_the_portable_ones() {
    let mut random = Random::fresh("subgroup_products_equal_the_oracle");
    let mut gpu = open();
    if !gpu.device().features.contains(wgpu::Features::SUBGROUP) {
        assert_eq!(gpu.tiers()[0].state, TierState::NotOffered);
        return;
    }
    for dtype in [StorageDtype::F32, StorageDtype::Q8_0] {
        let graph = graph(&mut random, dtype);
        let x = HostTensor::f32([1, 512], random.floats(512));
        let wanted = run(&mut CpuExecutor::new(CpuMode::Oracle), &graph, &x);
        let got = run(&mut gpu, &graph, &x);
        let error = worst_error(got.as_f32(), wanted.as_f32());
        assert!(error < 1e-5, "{dtype}: {error}");
    }
    let TierState::Proven { formats, .. } = &gpu.tiers()[0].state else {
        panic!("{:?}", gpu.tiers());
    };
    assert_eq!(formats, &["f32", "q8_0"]);
}

/// Caches of every type, by the kernels that this device takes and by the portable ones: they read the same bytes.
#[test]
fn attention_with_subgroups_equals_the_portable_one() {
    let mut gpu = open();
    let mut portable = open();
    portable.kernel_limits.subgroups = false;
    for kv_type in [KvType::F32, KvType::F16, KvType::Q8] {
        let wanted = few_attend(&mut portable, kv_type).unwrap();
        let got = few_attend(&mut gpu, kv_type).unwrap();
        let error = worst_error(&got, &wanted);
        assert!(error < 1e-5, "{kv_type:?}: {error}");
    }
    let serial = gpu.kernel_limits.serial_lanes && gpu.kernel_limits.subgroups;
    if serial {
        let TierState::Proven { formats, .. } = &gpu.tiers()[0].state else {
            panic!("{:?}", gpu.tiers());
        };
        assert_eq!(formats, &["attention"]);
    }
}

#[test]
fn a_tier_that_disagrees_is_given_up_and_the_results_stay_right() {
    let mut random = Random::fresh("a_tier_that_disagrees_is_given_up");
    let folder = tempfile::tempdir().unwrap();
    let graph = graph(&mut random, StorageDtype::F32);
    let x = HostTensor::f32([1, 512], random.floats(512));
    let wanted = run(&mut CpuExecutor::new(CpuMode::Oracle), &graph, &x);
    for turn in 0..2 {
        let mut gpu = open().with_cache(folder.path());
        if !gpu.device().features.contains(wgpu::Features::SUBGROUP) {
            return;
        }
        if turn == 0 {
            gpu.tiers.spoil();
        }
        let got = run(&mut gpu, &graph, &x);
        assert!(worst_error(got.as_f32(), wanted.as_f32()) < 1e-5);
        let TierState::Demoted { reason } = &gpu.tiers()[0].state else {
            panic!("{:?}", gpu.tiers());
        };
        assert!(reason.contains("relative error"), "{reason}");
        assert!(!gpu.kernel_limits.subgroups);
    }
}

#[test]
fn tiles_of_halves_prove_themselves_and_are_given_up_where_they_fail() {
    let mut random = Random::fresh("tiles_of_halves_prove_themselves");
    let weight = {
        let values: Vec<u8> = random
            .floats(70 * 512)
            .iter()
            .flat_map(|&value| half::f16::from_f32(value).to_le_bytes())
            .collect();
        TensorData::new_owned("w", &[70, 512], StorageDtype::F16, values).unwrap()
    };
    let many = |weight: &TensorData| {
        let g = GraphBuilder::new("many rows");
        let x = g.input("x", &[40, 512]).unwrap();
        g.output("y", &g.linear(&x, weight, None).unwrap());
        g.finish()
    };
    let blocks = graph(&mut random, StorageDtype::Q8_0).weights[0].clone();
    let x = HostTensor::f32([40, 512], random.floats(40 * 512));
    for spoil in [false, true] {
        let mut gpu = open();
        let device = Arc::clone(gpu.device());
        if !gpu.tiers.offer_halves(&device) {
            assert_eq!(gpu.tiers()[1].state, TierState::NotOffered);
            return;
        }
        gpu.tiers.set(&mut gpu.kernel_limits);
        assert!(gpu.kernel_limits.halves);
        // As a card, which multiplies many rows by tiles.
        gpu.kernel_limits.serial_lanes = false;
        if spoil {
            gpu.tiers.spoil();
        }
        for (weight, bound) in [(&weight, 1e-5), (&blocks, 6e-4)] {
            let graph = many(weight);
            let wanted = run(&mut CpuExecutor::new(CpuMode::Oracle), &graph, &x);
            let got = run(&mut gpu, &graph, &x);
            let error = worst_error(got.as_f32(), wanted.as_f32());
            assert!(error < if spoil { 1e-5 } else { bound }, "{error}");
        }
        match &gpu.tiers()[1].state {
            TierState::Proven {
                formats,
                worst_error,
            } if !spoil => {
                println!("worst error {worst_error:.1e}");
                assert_eq!(formats, &["f16", "q8_0"]);
            }
            TierState::Demoted { reason } if spoil => {
                assert!(reason.contains("relative error"), "{reason}");
                assert!(!gpu.kernel_limits.halves && gpu.kernel_limits.subgroups);
            }
            other => panic!("{other:?}"),
        }
    }
}
