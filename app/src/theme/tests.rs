//! What is promised of the palettes, in numbers.

use egui::Color32;

use super::*;

fn look() -> Look {
    load(&crate::folders::assets(None).unwrap()).unwrap()
}

fn both() -> [(&'static str, Tokens); 2] {
    let look = look();
    [
        ("dark", look.theme(true).clone()),
        ("light", look.theme(false).clone()),
    ]
}

/// Everything that text may lie on, but for what is coloured by the accent, by danger or by a selection.
fn grounds(t: &Tokens) -> Vec<(&'static str, Color32)> {
    vec![
        ("bg_base", t.bg_base),
        ("bg_panel", t.bg_panel),
        ("bg_raised", t.bg_raised),
        ("bg_hover", t.bg_hover),
        ("bg_active", t.bg_active),
        ("bg_input", t.bg_input),
        ("bg_tooltip", t.bg_tooltip),
        ("bg_disabled", t.bg_disabled),
        ("accent_soft", t.accent_soft),
        ("danger_soft", t.danger_soft),
        ("warning_soft", t.warning_soft),
        ("success_soft", t.success_soft),
        ("info_soft", t.info_soft),
        ("canvas_bg", t.canvas_bg),
    ]
}

/// All pairs that are too close, so that one sees them at once.
fn too_close<'a>(
    theme: &str,
    least: f32,
    pairs: impl IntoIterator<Item = ((&'a str, Color32), (&'a str, Color32))>,
) -> Vec<String> {
    let told = |((what, colour), (on, ground)): ((&str, Color32), (&str, Color32))| {
        let ratio = contrast(colour, ground);
        (ratio < least).then(|| format!("{theme}: {what} on {on}: {ratio:.2}, not {least}"))
    };
    pairs.into_iter().filter_map(told).collect()
}

#[test]
fn text_is_readable_on_every_background() {
    let mut faults = Vec::new();
    for (name, t) in both() {
        let texts = [
            ("text", t.text),
            ("text_muted", t.text_muted),
            ("text_faint", t.text_faint),
            ("accent_text", t.accent_text),
            ("danger_text", t.danger_text),
            ("warning", t.warning),
            ("success", t.success),
            ("info", t.info),
        ];
        let grounds = grounds(&t);
        let pairs = texts
            .iter()
            .flat_map(|text| grounds.iter().map(|ground| (*text, *ground)));
        faults.extend(too_close(name, 4.5, pairs));
        // What cannot be used may be fainter, but not so that nobody can read what it would be.
        let disabled = ("text_disabled", t.text_disabled);
        let pairs = grounds.iter().map(|ground| (disabled, *ground));
        faults.extend(too_close(name, 3.0, pairs));
        let fainter = contrast(t.text_disabled, t.bg_panel) < contrast(t.text_faint, t.bg_panel);
        assert!(fainter, "{name}: what cannot be used looks as if it could");
        let coloured = [
            (("on_accent", t.on_accent), ("accent", t.accent)),
            (("on_accent", t.on_accent), ("accent_hover", t.accent_hover)),
            (("on_danger", t.on_danger), ("danger", t.danger)),
            (("on_danger", t.on_danger), ("danger_hover", t.danger_hover)),
            // Selected text takes this colour, whatever it had.
            (("text", t.text), ("selection", t.selection)),
            // What is chosen and under the pointer or pressed.
            (
                ("accent_text", t.accent_text),
                ("accent_soft, hovered", mix(t.accent_soft, t.accent, 0.15)),
            ),
        ];
        faults.extend(too_close(name, 4.5, coloured));
        let columns = (0..DIFF_COLOURS).flat_map(|column| {
            [t.bg_base, t.bg_panel, t.bg_raised]
                .map(|ground| (("diff", t.diff(column)), ("a panel", ground)))
        });
        faults.extend(too_close(name, 4.5, columns));
        let behind = (0..DIFF_COLOURS).flat_map(|column| {
            [t.text, t.text_muted].map(|text| (("text", text), ("diff_soft", t.diff_soft(column))))
        });
        faults.extend(too_close(name, 4.5, behind));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn controls_stand_out_from_what_they_lie_on() {
    let mut faults = Vec::new();
    for (name, t) in both() {
        let resting = [
            ("bg_base", t.bg_base),
            ("bg_panel", t.bg_panel),
            ("bg_raised", t.bg_raised),
            ("bg_input", t.bg_input),
        ];
        let fills = [("accent", t.accent), ("danger", t.danger)];
        let pairs = fills
            .iter()
            .flat_map(|fill| resting.iter().map(|ground| (*fill, *ground)));
        faults.extend(too_close(name, 3.0, pairs));
        // Lines and bars lie on whatever is under the pointer, too.
        let lines = [
            ("stroke_control", t.stroke_control),
            ("focus", t.focus),
            ("accent_text", t.accent_text),
        ];
        let mut grounds = grounds(&t);
        grounds.retain(|(what, _)| what.starts_with("bg_") || *what == "canvas_bg");
        let pairs = lines
            .iter()
            .flat_map(|line| grounds.iter().map(|ground| (*line, *ground)));
        faults.extend(too_close(name, 3.0, pairs));
        let marks = (0..DIFF_COLOURS).map(|column| {
            (
                ("diff", t.diff(column)),
                ("its diff_soft", t.diff_soft(column)),
            )
        });
        faults.extend(too_close(name, 3.0, marks));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn greys_are_neutral_so_that_pictures_are_judged_rightly() {
    for (name, t) in both() {
        for grey in [t.canvas_bg, t.checker_a, t.checker_b, t.bg_base] {
            let channels = [grey.r(), grey.g(), grey.b()];
            let spread = channels.iter().max().unwrap() - channels.iter().min().unwrap();
            assert!(spread <= 2, "{name}: {grey:?}");
        }
    }
}

/// Oklab (Ottosson 2020) of a colour as seen with the linear RGB matrix given.
fn seen(colour: Color32, eye: [[f32; 3]; 3]) -> [f32; 3] {
    let times = |m: [[f32; 3]; 3], v: [f32; 3]| {
        m.map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum::<f32>())
    };
    let [r, g, b, _] = egui::Rgba::from(colour).to_array();
    let rgb = times(eye, [r, g, b]).map(|x| x.clamp(0.0, 1.0));
    let lms = times(
        [
            [0.412_221_47, 0.536_332_54, 0.051_445_993],
            [0.211_903_5, 0.680_699_5, 0.107_396_96],
            [0.088_302_46, 0.281_718_84, 0.629_978_7],
        ],
        rgb,
    );
    times(
        [
            [0.210_454_26, 0.793_617_8, -0.004_072_047],
            [1.977_998_5, -2.428_592_2, 0.450_593_7],
            [0.025_904_037, 0.782_771_77, -0.808_675_77],
        ],
        lms.map(f32::cbrt),
    )
}

#[test]
fn columns_can_be_told_apart_by_colour_blind_eyes_too() {
    // Machado, Oliveira and Fernandes 2009, severity 1.
    let eyes = [
        (
            "all cones",
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        ),
        (
            "protanopia",
            [
                [0.152_286, 1.052_583, -0.204_868],
                [0.114_503, 0.786_281, 0.099_216],
                [-0.003_882, -0.048_116, 1.051_998],
            ],
        ),
        (
            "deuteranopia",
            [
                [0.367_322, 0.860_646, -0.227_968],
                [0.280_085, 0.672_501, 0.047_413],
                [-0.011_82, 0.042_94, 0.968_881],
            ],
        ),
    ];
    for (name, t) in both() {
        for (eye, matrix) in eyes {
            for a in 0..DIFF_COLOURS {
                for b in 0..a {
                    let (x, y) = (seen(t.diff(a), matrix), seen(t.diff(b), matrix));
                    let distance = x
                        .iter()
                        .zip(y)
                        .map(|(x, y)| (x - y) * (x - y))
                        .sum::<f32>()
                        .sqrt();
                    assert!(distance > 0.04, "{name}, {eye}: {a} and {b}: {distance:.3}");
                }
            }
        }
    }
}

#[test]
fn colours_are_read_and_nonsense_is_refused() {
    assert_eq!(
        tokens::parse_colour("#12ab34").unwrap(),
        Color32::from_rgb(0x12, 0xab, 0x34)
    );
    assert_eq!(tokens::parse_colour("#00000080").unwrap().a(), 0x80);
    for nonsense in ["", "#", "12ab34", "#12ab3", "#12ab3g", "#+2ab34 ", "#ééé"] {
        assert!(tokens::parse_colour(nonsense).is_err(), "{nonsense}");
    }
}

fn copy_assets() -> tempfile::TempDir {
    let assets = crate::folders::assets(None).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for folder in ["theme", "icons", "fonts"] {
        std::fs::create_dir(copy.path().join(folder)).unwrap();
        for entry in std::fs::read_dir(assets.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let to = copy.path().join(folder).join(path.file_name().unwrap());
            std::fs::copy(&path, to).unwrap();
        }
    }
    copy
}

#[test]
fn a_broken_file_is_named() {
    let cases = [
        ("theme/dark.json", "{"),
        (
            "theme/light.json",
            r##"{"bg_base": "#111111", "surprise": "#222222"}"##,
        ),
        ("icons/close.svg", "no drawing"),
        ("fonts/Inter-Medium.otf", "no font"),
    ];
    for (file, content) in cases {
        let copy = copy_assets();
        std::fs::write(copy.path().join(file), content).unwrap();
        let error = load(copy.path()).err().unwrap().to_string();
        assert!(error.contains(file), "{error}");
        std::fs::remove_file(copy.path().join(file)).unwrap();
        let error = load(copy.path()).err().unwrap().to_string();
        assert!(error.contains(file), "{error}");
    }
}

#[test]
fn an_installed_look_follows_the_choice() {
    let look = look();
    let ctx = egui::Context::default();
    assert_eq!(
        *tokens(&ctx),
        Tokens::plain(true),
        "nothing is installed yet"
    );
    for (choice, dark) in [(ThemeChoice::Light, false), (ThemeChoice::Dark, true)] {
        look.install(&ctx, choice, 1.25);
        let mut seen = None;
        let output = ctx.run_ui(egui::RawInput::default(), |ui| {
            seen = Some((tokens(ui.ctx()), ui.visuals().panel_fill));
            ui.label(egui::RichText::new("a").font(medium(ui.ctx(), 13.0)));
            ui.heading("b");
        });
        drop(output);
        let (shown, panel) = seen.unwrap();
        assert_eq!(shown.as_ref(), look.theme(dark));
        assert_eq!(panel, shown.bg_panel);
    }
    assert_eq!(ctx.zoom_factor(), 1.25);
}
