//! Every shader is valid WGSL, stays within the limits that WebGPU grants everywhere, agrees with the registry about its
//! bindings, and can be translated for Vulkan, Metal and Direct3D. For Mac and Windows this is the only evidence that can be
//! had on other machines.

// A failing test says why by its panic.
#![allow(clippy::panic, clippy::print_stdout)]

use diptych_shaders::{Binding, Chain, ChainStep, Function, Kernel};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess, TypeInner};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// All that are known by name, and chains as random as the number of a run.
fn kernels() -> Vec<Kernel> {
    let mut all = Kernel::all();
    let seed = rand::rng().random::<u64>();
    let seed =
        std::env::var("DIPTYCH_TEST_SEED").map_or(seed, |given| given.parse().unwrap_or(seed));
    println!("DIPTYCH_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let known = all.len();
    while all.len() < known + 100 {
        let steps: Vec<ChainStep> = (0..random.random_range(1..=Chain::STEPS))
            .map(|_| some_step(&mut random))
            .collect();
        let chain = Chain::new(&steps).map(|chain| Kernel::Chain { chain });
        all.extend(chain.filter(|chain| !all.contains(chain)));
    }
    all
}

fn some_step(random: &mut StdRng) -> ChainStep {
    const FUNCTIONS: [Function; 10] = [
        Function::Silu,
        Function::Gelu,
        Function::GeluTanh,
        Function::QuickGelu,
        Function::Relu,
        Function::Tanh,
        Function::Affine,
        Function::Clamp,
        Function::LeakyRelu,
        Function::Same,
    ];
    let function = FUNCTIONS[random.random_range(0..FUNCTIONS.len())];
    let spread = random.random_range(0..2) == 1;
    match random.random_range(0..4) {
        0 => ChainStep::Add { spread },
        1 => ChainStep::Multiply { spread },
        2 => ChainStep::Gate(function),
        _ => ChainStep::Apply(function),
    }
}

/// Parsed and validated without any optional capability but the subgroups and 16-bit floats of kernels that say so: f16 pairs in words are unpacked everywhere but in OpenGL.
fn load(kernel: Kernel) -> (Module, ModuleInfo) {
    let source = kernel.source();
    let module = naga::front::wgsl::parse_str(&source.source)
        .unwrap_or_else(|e| panic!("{}: {}", source.name, e.emit_to_string(&source.source)));
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(Capabilities::SUBGROUP, kernel.needs_subgroups());
    capabilities.set(Capabilities::SHADER_FLOAT16, kernel.needs_halves());
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {}", source.name, e.emit_to_string(&source.source)));
    (module, info)
}

#[test]
fn every_kernel_is_valid_and_as_registered() {
    for kernel in kernels() {
        let source = kernel.source();
        let name = &source.name;
        let (module, _) = load(kernel);
        assert_eq!(module.entry_points.len(), 1, "{name}");
        let entry = &module.entry_points[0];
        assert_eq!(entry.name, source.entry, "{name}");
        assert_eq!(entry.workgroup_size, source.workgroup, "{name}");
        assert!(source.workgroup.iter().product::<u32>() <= 256, "{name}");
        assert!(
            source.bindings.len() <= 8,
            "{name}: more storage buffers than the default limit"
        );

        let mut bound = vec![None; source.bindings.len()];
        let mut workgroup_bytes = 0;
        let mut uniform_bytes = 0;
        for (_, variable) in module.global_variables.iter() {
            let size = module.types[variable.ty].inner.size(module.to_ctx());
            match variable.space {
                AddressSpace::WorkGroup => workgroup_bytes += size,
                AddressSpace::Uniform => {
                    assert_eq!(
                        variable.binding.as_ref().map(|b| (b.group, b.binding)),
                        Some((0, 0)),
                        "{name}"
                    );
                    uniform_bytes = size;
                    let TypeInner::Struct { members, .. } = &module.types[variable.ty].inner else {
                        panic!("{name}: the uniform block is no struct");
                    };
                    // Words at consecutive places, so that the host can write them as a list.
                    for (index, member) in members.iter().enumerate() {
                        assert_eq!(member.offset as usize, index * 4, "{name}");
                        assert!(
                            matches!(module.types[member.ty].inner, TypeInner::Scalar(_)),
                            "{name}"
                        );
                    }
                    assert_eq!(members[0].name.as_deref(), Some("grid_x"), "{name}");
                    assert_eq!(members[1].name.as_deref(), Some("grid_y"), "{name}");
                }
                AddressSpace::Storage { access } => {
                    let at = variable.binding.as_ref().expect("a binding");
                    assert_eq!(at.group, 0, "{name}");
                    let kind = if access.contains(StorageAccess::STORE) {
                        Binding::ReadWrite
                    } else {
                        Binding::Read
                    };
                    bound[at.binding as usize - 1] = Some(kind);
                }
                _ => {}
            }
        }
        let registered: Vec<_> = source.bindings.iter().copied().map(Some).collect();
        assert_eq!(bound, registered, "{name}");
        assert_eq!(uniform_bytes, source.uniform_words * 4, "{name}");
        assert!(uniform_bytes <= 256, "{name}");
        assert!(
            workgroup_bytes <= 16384,
            "{name}: {workgroup_bytes} bytes of workgroup memory"
        );
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<String> = kernels().into_iter().map(Kernel::name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn kernels_without_a_mask_know_of_none() {
    let tells = |kernel: Kernel| kernel.source().source.to_lowercase().contains("mask_");
    let (masked, others): (Vec<_>, Vec<_>) = kernels().into_iter().partition(|k| k.has_mask());
    assert!(!masked.is_empty());
    for kernel in masked {
        assert!(tells(kernel), "{}", kernel.name());
        let plain = match kernel {
            Kernel::Attention { width, .. } => Kernel::Attention { width, mask: false },
            Kernel::AttentionAcross { head, .. } => Kernel::AttentionAcross { head, mask: false },
            other => panic!("{}", other.name()),
        };
        assert_eq!(
            kernel.bindings()[..plain.bindings().len()],
            *plain.bindings()
        );
        assert_eq!(kernel.uniform_words(), plain.uniform_words() + 4);
    }
    for kernel in others {
        assert!(!tells(kernel), "{}", kernel.name());
    }
}

#[test]
fn every_kernel_translates_to_spirv() {
    for kernel in kernels() {
        let (module, info) = load(kernel);
        let options = naga::back::spv::Options {
            lang_version: (1, 3),
            ..Default::default()
        };
        let words = naga::back::spv::write_vec(&module, &info, &options, None)
            .unwrap_or_else(|e| panic!("{}: {e}", kernel.name()));
        assert!(words.len() > 50, "{}", kernel.name());
    }
}

#[test]
fn every_kernel_translates_to_metal() {
    for kernel in kernels() {
        let (module, info) = load(kernel);
        // As wgpu does it: buffers in the order of their bindings, their sizes after them.
        let mut resources = naga::back::msl::EntryPointResources::default();
        for slot in 0..=kernel.bindings().len() {
            let target = naga::back::msl::BindTarget {
                buffer: Some(slot as u8),
                mutable: slot > 0 && kernel.bindings()[slot - 1] == Binding::ReadWrite,
                ..Default::default()
            };
            resources.resources.insert(
                naga::ResourceBinding {
                    group: 0,
                    binding: slot as u32,
                },
                target,
            );
        }
        resources.sizes_buffer = Some(kernel.bindings().len() as u8 + 1);
        let options = naga::back::msl::Options {
            lang_version: if kernel.needs_subgroups() {
                (2, 4)
            } else {
                (2, 1)
            },
            per_entry_point_map: [("main".to_owned(), resources)].into(),
            fake_missing_bindings: false,
            ..Default::default()
        };
        let pipeline = naga::back::msl::PipelineOptions::default();
        let (text, translated) = naga::back::msl::write_string(&module, &info, &options, &pipeline)
            .unwrap_or_else(|e| panic!("{}: {e}", kernel.name()));
        for entry in translated.entry_point_names {
            entry.unwrap_or_else(|e| panic!("{}: {e}", kernel.name()));
        }
        assert!(text.contains("kernel void"), "{}", kernel.name());
    }
}

#[test]
fn every_kernel_translates_to_direct3d() {
    for kernel in kernels() {
        let (module, info) = load(kernel);
        let options = naga::back::hlsl::Options {
            shader_model: match kernel.needs_halves() {
                true => naga::back::hlsl::ShaderModel::V6_2,
                false => naga::back::hlsl::ShaderModel::V6_0,
            },
            fake_missing_bindings: true,
            ..Default::default()
        };
        let pipeline = naga::back::hlsl::PipelineOptions::default();
        let mut text = String::new();
        let mut writer = naga::back::hlsl::Writer::new(&mut text, &options, &pipeline);
        let reflection = writer
            .write(&module, &info, None)
            .unwrap_or_else(|e| panic!("{}: {e}", kernel.name()));
        for entry in reflection.entry_point_names {
            entry.unwrap_or_else(|e| panic!("{}: {e}", kernel.name()));
        }
        assert!(text.contains("numthreads"), "{}", kernel.name());
    }
}
