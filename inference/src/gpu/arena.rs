//! Packs values into few buffers by their lifetimes.
//!
//! wgpu forbids reading and writing one buffer in one dispatch, so a value never lies in the arena of a value that is
//! read while it is written. Within an arena, values whose lives do not overlap share bytes.

/// A value to be placed.
#[derive(Clone, Debug)]
pub struct Request {
    /// Bytes; rounded up to the alignment.
    pub size: u64,
    /// Step at which it is first written.
    pub from: usize,
    /// Last step at which it is read.
    pub to: usize,
    /// Earlier requests (by index) that are bound in the same dispatch as this one is written in.
    pub apart_from: Vec<usize>,
}

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Index of the arena.
    pub arena: usize,
    /// First byte.
    pub offset: u64,
    /// Bytes, as asked for.
    pub size: u64,
}

/// Places of all values, and the arenas' sizes.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// One for each request.
    pub spots: Vec<Spot>,
    /// Bytes of each arena.
    pub arenas: Vec<u64>,
}

/// Places values in the order given, each where it lets the arenas grow least.
///
/// `alignment` is that of storage bindings; no arena grows beyond `max_arena` unless one value alone does.
pub fn place(requests: &[Request], alignment: u64, max_arena: u64) -> Layout {
    let mut layout = Layout::default();
    for request in requests {
        let size = request.size.next_multiple_of(alignment);
        let mut best: Option<(u64, Spot)> = None;
        for (arena, &length) in layout.arenas.iter().enumerate() {
            if request
                .apart_from
                .iter()
                .any(|&other| layout.spots[other].arena == arena)
            {
                continue;
            }
            let offset = first_gap(requests, &layout, arena, request, size, alignment);
            let end = offset + size;
            if end > max_arena {
                continue;
            }
            let growth = end.saturating_sub(length);
            if best.is_none_or(|(least, _)| growth < least) {
                best = Some((
                    growth,
                    Spot {
                        arena,
                        offset,
                        size: request.size,
                    },
                ));
            }
        }
        // A new arena costs a whole buffer, but an old one that has to grow costs the same bytes.
        let spot = match best {
            Some((growth, spot)) if growth < size || layout.arenas.len() >= 3 => spot,
            _ => {
                layout.arenas.push(0);
                Spot {
                    arena: layout.arenas.len() - 1,
                    offset: 0,
                    size: request.size,
                }
            }
        };
        layout.arenas[spot.arena] = layout.arenas[spot.arena].max(spot.offset + size);
        layout.spots.push(spot);
    }
    layout
}

/// The lowest offset in an arena at which a request fits between all placed values that live at the same time.
fn first_gap(
    requests: &[Request],
    layout: &Layout,
    arena: usize,
    request: &Request,
    size: u64,
    alignment: u64,
) -> u64 {
    let mut busy: Vec<(u64, u64)> = layout
        .spots
        .iter()
        .zip(requests)
        .filter(|(spot, other)| {
            spot.arena == arena && other.from <= request.to && request.from <= other.to
        })
        .map(|(spot, _)| {
            (
                spot.offset,
                (spot.offset + spot.size).next_multiple_of(alignment),
            )
        })
        .collect();
    busy.sort_unstable();
    let mut offset = 0;
    for (start, end) in busy {
        if offset + size <= start {
            break;
        }
        offset = offset.max(end);
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    #[test]
    fn a_chain_of_equal_values_needs_two_arenas() {
        let requests: Vec<Request> = (0..50)
            .map(|i| Request {
                size: 1000,
                from: i,
                to: i + 1,
                apart_from: if i == 0 { vec![] } else { vec![i - 1] },
            })
            .collect();
        let layout = place(&requests, 256, 1 << 30);
        assert_eq!(layout.arenas, [1024, 1024]);
    }

    #[test]
    fn random_lives_never_collide() {
        let seed: u64 = rand::rng().random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..200 {
            let count = rng.random_range(1..60);
            let requests: Vec<Request> = (0..count)
                .map(|i| {
                    let mut apart_from: Vec<usize> = Vec::new();
                    for _ in 0..rng.random_range(0..4usize).min(i) {
                        apart_from.push(rng.random_range(0..i));
                    }
                    Request {
                        size: rng.random_range(1..5000),
                        from: i,
                        to: i + rng.random_range(0..10),
                        apart_from,
                    }
                })
                .collect();
            let layout = place(&requests, 256, 8192);
            for (i, a) in requests.iter().enumerate() {
                let spot = layout.spots[i];
                assert_eq!(spot.offset % 256, 0);
                assert!(spot.offset + a.size <= layout.arenas[spot.arena]);
                assert!(layout.arenas[spot.arena] <= 8192);
                for &other in &a.apart_from {
                    assert_ne!(layout.spots[other].arena, spot.arena);
                }
                for (j, b) in requests.iter().enumerate().take(i) {
                    let other = layout.spots[j];
                    let together = a.from <= b.to && b.from <= a.to;
                    let overlap = spot.arena == other.arena
                        && spot.offset < other.offset + other.size
                        && other.offset < spot.offset + spot.size;
                    assert!(!(together && overlap), "values {i} and {j} collide");
                }
            }
        }
    }
}
