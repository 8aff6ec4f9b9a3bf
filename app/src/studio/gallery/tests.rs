use diptych_inference::engine::{ImageRequest, ModelRef};

use super::*;

fn item(id: i64, prompt: &str, side: u32) -> Item {
    let request = ImageRequest::new(ModelRef::named("sketch"), prompt, side, side);
    Item {
        record: PictureRecord {
            id: PictureId(id),
            path: PathBuf::new(),
            created: id,
            request,
            width: side,
            height: side,
            steps_done: None,
            seconds: 1.0,
            favourite: id % 2 == 0,
            trashed: false,
            grid: None,
            origin: None,
        },
        memory: None,
    }
}

fn gallery() -> Gallery {
    Gallery {
        items: vec![
            item(4, "a red Fox", 64),
            item(3, "castle at night", 512),
            item(2, "a fox at night", 64),
            item(1, "apple", 64),
        ],
        ..Gallery::default()
    }
}

fn shown(gallery: &mut Gallery) -> Vec<i64> {
    gallery.shown_ids().into_iter().map(|id| id.0).collect()
}

#[test]
fn pictures_are_searched_and_sorted() {
    let mut gallery = gallery();
    assert_eq!(shown(&mut gallery), [4, 3, 2, 1]);
    gallery.sieve.text = "FOX".into();
    assert_eq!(shown(&mut gallery), [4, 2]);
    gallery.sieve.text = "night fox".into();
    assert_eq!(shown(&mut gallery), [2]);
    gallery.sieve.text = "512x512".into();
    assert_eq!(shown(&mut gallery), [3]);
    gallery.sieve.text.clear();
    gallery.sieve.favourites = true;
    assert_eq!(shown(&mut gallery), [4, 2]);
    gallery.sieve.favourites = false;
    for (order, expected) in [
        (Order::Oldest, [1, 2, 3, 4]),
        (Order::Prompt, [2, 4, 1, 3]),
        (Order::Largest, [3, 4, 2, 1]),
    ] {
        gallery.sieve.order = order;
        assert_eq!(shown(&mut gallery), expected);
    }
}

#[test]
fn what_changes_is_sifted_anew() {
    let mut gallery = gallery();
    assert_eq!(shown(&mut gallery), [4, 3, 2, 1]);
    gallery.get_mut(PictureId(3)).unwrap().record.trashed = true;
    assert_eq!(shown(&mut gallery), [4, 2, 1]);
    gallery.sieve.trash = true;
    assert_eq!(shown(&mut gallery), [3]);
    assert_eq!(gallery.trashed(), 1);
}

#[test]
fn ten_thousand_pictures_are_sifted_in_a_blink() {
    let mut gallery = Gallery {
        items: (0..10_000)
            .rev()
            .map(|id| item(id, &format!("a fox number {id}, flat style"), 64))
            .collect(),
        ..Gallery::default()
    };
    gallery.sieve.text = "fox 77".into();
    let begun = std::time::Instant::now();
    assert!(gallery.shown().len() > 100);
    assert!(begun.elapsed().as_millis() < 250, "{:?}", begun.elapsed());
    assert_eq!(
        gallery.get(PictureId(5000)).unwrap().record.id,
        PictureId(5000)
    );
}
