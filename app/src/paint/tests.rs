#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn hard(radius: f32) -> Brush {
    Brush {
        radius,
        hardness: 1.0,
        erase: false,
    }
}

#[test]
fn a_dab_is_a_disc_and_erasing_takes_it_away() {
    let mut mask = Mask::new(300, 200);
    assert!(mask.is_empty());
    assert!(mask.paint(&hard(20.0), [130.0, 100.0], [130.0, 100.0]));
    // Across the edge of two tiles.
    assert_eq!((mask.value(130, 100), mask.value(115, 100)), (255, 255));
    assert_eq!((mask.value(130, 123), mask.value(152, 100)), (0, 0));
    let area = mask.share() * 300.0 * 200.0;
    let disc = std::f32::consts::PI * 400.0;
    assert!((area - disc).abs() < 0.05 * disc, "{area} {disc}");
    assert!(
        !mask.paint(&hard(20.0), [130.0, 100.0], [130.0, 100.0]),
        "the same again"
    );
    let erase = Brush {
        erase: true,
        ..hard(40.0)
    };
    assert!(mask.paint(&erase, [130.0, 100.0], [130.0, 100.0]));
    assert!(mask.is_empty());
}

#[test]
fn soft_brushes_fade_and_strokes_are_as_long_as_they_are() {
    let mut mask = Mask::new(400, 100);
    let soft = Brush {
        radius: 30.0,
        hardness: 0.3,
        erase: false,
    };
    mask.paint(&soft, [50.0, 50.0], [350.0, 50.0]);
    let across: Vec<u8> = (50..85).map(|y| mask.value(200, y)).collect();
    assert_eq!((across[0], across[5]), (255, 255));
    assert!(
        across.windows(2).all(|pair| pair[0] >= pair[1]),
        "{across:?}"
    );
    assert!(across.iter().any(|value| (60..200).contains(value)));
    assert_eq!((mask.value(10, 50), mask.value(390, 50)), (0, 0));
}

#[test]
fn only_tiles_under_the_stroke_are_other_ones() {
    let mut mask = Mask::new(1000, 1000);
    mask.paint(&hard(10.0), [500.0, 500.0], [500.0, 500.0]);
    let before = mask.clone();
    mask.paint(&hard(10.0), [64.0, 64.0], [64.0, 64.0]);
    let changed: Vec<Area> = mask
        .tiles()
        .zip(before.tiles())
        .filter(|((_, a), (_, b))| !Arc::ptr_eq(a, b))
        .map(|((area, _), _)| area)
        .collect();
    assert_eq!(changed.len(), 1);
    assert_eq!((changed[0].x, changed[0].y), (0, 0));
    assert_ne!(mask, before);
}

#[test]
fn strokes_beyond_the_edge_and_of_no_place_do_no_harm() {
    let mut mask = Mask::new(130, 7);
    for place in [
        [-50.0, -50.0],
        [1e9, 3.0],
        [f32::NAN, 1.0],
        [f32::MAX, f32::MIN],
    ] {
        mask.paint(&hard(5.0), place, place);
    }
    assert!(mask.is_empty());
    assert!(mask.paint(&hard(5.0), [-3.0, 3.0], [-3.0, 3.0]));
    assert!(mask.paint(&hard(2.0), [129.0, 6.0], [1e7, 6.0]));
    assert_eq!(mask.value(129, 6), 255);
    assert_eq!((mask.value(130, 6), mask.value(5, 700)), (0, 0));
}

#[test]
fn filled_inverted_and_brought_through_a_file() {
    let mut mask = Mask::new(300, 150);
    mask.paint(&hard(33.0), [200.0, 70.0], [260.0, 90.0]);
    let share = mask.share();
    let png = to_png(&mask).unwrap();
    assert_eq!(from_png(&png).unwrap(), mask);
    let mut other = mask.clone();
    other.invert();
    assert!((other.share() + share - 1.0).abs() < 1e-4);
    other.invert();
    assert_eq!(other, mask);
    other.fill(255);
    assert_eq!((other.share(), other.value(299, 149)), (1.0, 255));
    assert!(from_png(b"\x89PNG\r\n\x1a\nnothing").is_err());
    assert!(Mask::from_rows(10, 10, &[0; 99]).is_none());
    let rows = mask.to_rows();
    assert_eq!(Mask::from_rows(300, 150, &rows).unwrap(), mask);
}

/// A large picture is painted without the window stumbling; `--nocapture` tells how long a move of the pointer takes.
#[test]
fn a_large_mask_is_painted_fast() {
    let mut mask = Mask::new(4096, 4096);
    let brush = Brush {
        radius: 150.0,
        hardness: 0.6,
        erase: false,
    };
    let begun = std::time::Instant::now();
    let moves = 100;
    for step in 0..moves {
        let at = |step: i32| [300.0 + 30.0 * step as f32, 2048.0 + 10.0 * step as f32];
        mask.paint(&brush, at(step), at(step + 1));
    }
    let each = begun.elapsed() / moves as u32;
    println!("a move of a brush 300 pixels wide on 4096 x 4096: {each:?}");
    assert!(each.as_millis() < 16, "{each:?}");
}
