use std::sync::Arc;

use super::*;
use crate::graph::{ExecError, KvShape, KvType, NeverInterrupt, Run, StateId};

#[test]
fn inputs_that_do_not_fit_are_named() {
    let built = graph(|g| {
        let x = g.input("x", &[2, 3]).unwrap();
        g.affine(&x, 2.0, 0.0).unwrap()
    });
    let mut executor = CpuExecutor::new(CpuMode::Fast);
    let good = HostTensor::f32([2, 3], vec![1.0; 6]);
    let cases: [&[(&str, HostTensor)]; 5] = [
        &[],
        &[("y", good.clone())],
        &[("x", HostTensor::f32([3, 2], vec![1.0; 6]))],
        &[("x", HostTensor::u32([2, 3], vec![1; 6]))],
        &[("x", HostTensor::f32([2, 3], vec![1.0; 5]))],
    ];
    for inputs in cases {
        let error = run_once(&mut executor, built.clone(), inputs).unwrap_err();
        assert!(
            matches!(&error, ExecError::Input { name, .. } if name == "x"),
            "{error}"
        );
    }
    assert_eq!(
        run_once(&mut executor, built, &[("x", good)]).unwrap()[0].as_f32(),
        [2.0; 6]
    );
}

#[test]
fn ids_and_indices_out_of_range_are_named() {
    let mut random = Random::new(1);
    let table = random_weight(&mut random, "table", &[5, 4]);
    let built = graph(|g| {
        g.embedding(&g.input_u32("ids", &[3]).unwrap(), &table)
            .unwrap()
    });
    for mode in MODES {
        let mut executor = CpuExecutor::new(mode);
        for id in [5, u32::MAX] {
            let error = run_once(
                &mut executor,
                built.clone(),
                &[("ids", HostTensor::u32([3], vec![0, 4, id]))],
            )
            .unwrap_err();
            assert!(error.to_string().contains(&id.to_string()), "{error}");
        }
        let gathered = graph(|g| {
            let (x, i) = (
                g.input("x", &[5, 4]).unwrap(),
                g.input_u32("i", &[2]).unwrap(),
            );
            g.gather_rows(&x, &i).unwrap()
        });
        let x = HostTensor::f32([5, 4], random.floats(20));
        let error = run_once(
            &mut executor,
            gathered,
            &[("x", x), ("i", HostTensor::u32([2], vec![0, 5]))],
        )
        .unwrap_err();
        assert!(error.to_string().contains("5 rows"), "{error}");
    }
}

#[test]
fn caches_must_exist_and_fit() {
    let mut executor = CpuExecutor::new(CpuMode::Fast);
    let shape = KvShape {
        layers: 1,
        kv_heads: 1,
        head_dim: 4,
        pages: 2,
        kv_type: KvType::F32,
    };
    let g = GraphBuilder::new("test");
    g.kv_state(shape);
    let x = g.input("x", &[1]).unwrap();
    g.output("x", &x);
    let plan = executor.prepare(Arc::new(g.finish())).unwrap();
    let state = executor.create_kv(shape).unwrap();
    let other = executor.create_kv(KvShape { pages: 3, ..shape }).unwrap();
    let mut run = |states: &[StateId]| {
        let inputs = [("x", HostTensor::f32([1], vec![1.0]))];
        executor.run(
            plan,
            Run {
                inputs: &inputs,
                states,
                interrupt: &mut NeverInterrupt,
            },
        )
    };
    assert!(run(&[state]).is_ok());
    assert!(matches!(run(&[]), Err(ExecError::Input { .. })));
    assert!(matches!(run(&[other]), Err(ExecError::Input { .. })));
    assert!(matches!(
        run(&[StateId(999)]),
        Err(ExecError::Unknown { what: "state", .. })
    ));
    assert!(executor.copy_kv_page(StateId(999), 0, 0).is_err());
}

#[test]
fn the_device_is_named() {
    let executor = CpuExecutor::new(CpuMode::default());
    assert_eq!(executor.kind(), "cpu");
    assert_eq!(executor.mode(), CpuMode::Fast);
    assert!(executor.device_name().contains("thread"));
    assert!(executor.memory().budget > 0);
}
