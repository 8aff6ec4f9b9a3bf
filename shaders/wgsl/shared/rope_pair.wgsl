// Which elements of a head are rotated together: the number of the pair, whether an element is its second, and how far apart they are.
struct Pair {
    index: u32,
    second: bool,
    distance: u32,
}

fn pair_of(element: u32) -> Pair {
    if (p.interleaved != 0u) {
        return Pair(element / 2u, (element & 1u) == 1u, 1u);
    }
    return Pair(element % p.frequencies, element >= p.frequencies, p.frequencies);
}

// An element and the other of its pair, rotated at a position: (a, b) becomes (a cos - b sin, b cos + a sin).
fn rotated(own: f32, their: f32, pair: Pair, position: u32) -> f32 {
    let turn = cos_sin(f32(position) * inv_freq[p.freq_base + pair.index]) * p.magnitude;
    return own * turn.x + select(-their, their, pair.second) * turn.y;
}
