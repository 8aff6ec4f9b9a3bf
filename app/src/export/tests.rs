//! Sheets with pictures made by hand, looked at pixel by pixel.

use std::path::Path;
use std::sync::Arc;

use diptych_inference::engine::{ImageRequest, ModelRef, Picture};
use diptych_inference::formats::picture::png_texts;

use super::*;

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets")
}

fn cell(colour: [u8; 3], seed: u64) -> Option<SheetCell> {
    let mut request = ImageRequest::new(ModelRef::named("sketch"), "a fox".to_owned(), 64, 64);
    request.seed = seed;
    Some(SheetCell {
        picture: Some(Arc::new(Picture {
            width: 64,
            height: 64,
            rgb: colour.repeat(64 * 64),
        })),
        path: None,
        request,
        best: seed == 2,
    })
}

fn sheet(style: SheetStyle) -> Sheet {
    Sheet {
        title: "Foxes".into(),
        rows: vec![
            SheetRow {
                prompt: "a red fox, flat style".into(),
                differing: std::iter::once(2..5).collect(),
                note: String::new(),
                cells: vec![cell([200, 0, 0], 1), cell([0, 200, 0], 2)],
            },
            SheetRow {
                prompt: "a blue fox in a very deep forest full of snow and light. ".repeat(12),
                differing: std::iter::once(2..6).collect(),
                note: "30 steps".into(),
                cells: vec![cell([0, 0, 200], 1), None],
            },
        ],
        seeds: vec![1, 2],
        style,
    }
}

fn share(picture: &Picture, colour: [u8; 3]) -> f32 {
    let count = picture
        .rgb
        .chunks(3)
        .filter(|pixel| **pixel == colour)
        .count();
    count as f32 / (picture.rgb.len() / 3) as f32
}

#[test]
fn every_picture_and_label_is_on_the_sheet() {
    let fonts = Fonts::load(&assets()).unwrap();
    for style in [SheetStyle::Dark, SheetStyle::Light] {
        let picture = render(&sheet(style), &fonts).unwrap();
        let pixels = (picture.width * picture.height) as f32;
        // 64 pixels are enlarged four times.
        for colour in [[200, 0, 0], [0, 200, 0], [0, 0, 200]] {
            let found = share(&picture, colour) * pixels;
            assert_eq!(found.round(), 256.0 * 256.0, "{colour:?}");
        }
        // Marked words and the frame of the best are of the accent's colour, in both styles.
        let marked = match style {
            SheetStyle::Dark => [255, 190, 92],
            SheetStyle::Light => [176, 84, 0],
        };
        assert!(share(&picture, marked) * pixels > 20.0);
        if let Some(folder) = std::env::var_os("DIPTYCH_SHOTS") {
            let bytes = encode(&sheet(style), &assets()).unwrap();
            std::fs::write(
                Path::new(&folder).join(format!("sheet-{style:?}.png")),
                bytes,
            )
            .unwrap();
        }
    }
}

#[test]
fn the_file_tells_its_requests() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        &sheet(SheetStyle::Dark),
        &assets(),
        &folder.path().join("grid"),
    )
    .unwrap();
    assert_eq!(path, folder.path().join("grid.png"));
    let bytes = std::fs::read(&path).unwrap();
    let texts = png_texts(&path, &bytes).unwrap();
    let grid = texts.iter().find(|(key, _)| key == GRID_KEY).unwrap();
    let grid: serde_json::Value = serde_json::from_str(&grid.1).unwrap();
    assert_eq!(grid["seeds"], serde_json::json!([1, 2]));
    assert_eq!(grid["requests"][0][1]["seed"], 2);
    assert!(grid["requests"][1][1].is_null());
    // Nothing else is left in the folder.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn faults_are_told() {
    let fonts = Fonts::load(&assets()).unwrap();
    let mut empty = sheet(SheetStyle::Dark);
    empty.rows.iter_mut().for_each(|row| row.cells.fill(None));
    assert!(matches!(render(&empty, &fonts), Err(ExportError::Empty)));
    let mut lost = sheet(SheetStyle::Dark);
    if let Some(cell) = &mut lost.rows[0].cells[0] {
        (cell.picture, cell.path) = (None, Some("/nowhere/fox.png".into()));
    }
    let error = render(&lost, &fonts).unwrap_err().to_string();
    assert!(
        error.contains("/nowhere/fox.png") && error.contains("again"),
        "{error}"
    );
    assert!(matches!(
        Fonts::load(Path::new("/nowhere")),
        Err(ExportError::Font { .. })
    ));
}
