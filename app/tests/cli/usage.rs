//! Wrong usage ends with exit code 2 and says what would be right; help and version are there.

use crate::support::{Studio, tiny};

#[cfg(target_os = "linux")]
#[test]
fn without_a_display_it_says_what_else_it_can_do() {
    let studio = Studio::new();
    let mut command = studio.command(&[]);
    command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    command.env_remove("WAYLAND_SOCKET");
    let run = command.output().unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("no display"), "{said}");
    for verb in ["draw", "chat", "complete", "inspect", "models", "doctor"] {
        assert!(said.contains(&format!("diptych {verb}")), "{said}");
    }
}

#[test]
fn version_and_help_go_to_stdout() {
    let studio = Studio::new();
    assert_eq!(
        studio.run(&["--version"]).ok().stdout,
        format!("diptych {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = studio.run(&["draw", "--help"]).ok().stdout;
    for option in [
        "--out",
        "--seed",
        "--sampler",
        "--prompt-syntax",
        "--dump-latents",
        "--device",
        "--assets",
    ] {
        assert!(help.contains(option), "{option}: {help}");
    }
}

#[test]
fn wrong_usage_is_told_from_failure() {
    let studio = Studio::new();
    let cases: &[&[&str]] = &[
        &["paint"],
        &["draw"],
        &["draw", "a", "--steps", "0"],
        &["draw", "a", "--steps", "many"],
        &["draw", "a", "--size", "64"],
        &["draw", "a", "--size", "0x64"],
        &["draw", "a", "--guidance", "nan"],
        &["draw", "a", "--seed", "-1"],
        &["draw", "a", "--count", "0"],
        &["draw", "a", "--prompt-syntax", "comfy"],
        &["draw", "a", "--out", "a.jpg"],
        &["draw", "a", "b"],
        &["chat"],
        &["chat", "a", "--temperature", "-1"],
        &["chat", "a", "--top-p", "2"],
        &["complete"],
        &["complete", "a", "--min-p", "x"],
        &["tokenize"],
        &["tokenize", "a.gguf"],
        &["tokenize", "a.gguf", "text", "--stdin"],
        &["models", "show"],
        &["inspect"],
        &["doctor", "now"],
    ];
    for case in cases {
        studio.run(case).misused();
    }
    let said = studio
        .run(&["draw", "a", "--size", "65x64", "--model", &tiny()])
        .misused();
    assert!(said.contains("multiples of 4"), "{said}");
    assert_eq!(std::fs::read_dir(studio.folder.path()).unwrap().count(), 0);
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let studio = Studio::new();
    let cases = [
        ("--sampler", "magic", "DPM++ 2M"),
        ("--schedule", "fast", "Karras"),
        ("--convention", "invoke", "kdiffusion"),
        ("--spacing", "wide", "trailing"),
        ("--prompt-syntax", "comfy", "a1111"),
        ("--device", "tpu", "gpu"),
    ];
    for (option, name, known) in cases {
        let said = studio
            .run_with_input(&["draw", "a", option, name], None)
            .misused();
        assert!(said.contains(known) && said.contains(name), "{said}");
    }
}
