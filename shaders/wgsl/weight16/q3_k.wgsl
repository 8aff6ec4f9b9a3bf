// Sixteen of Q3_K; the layout is described in weight/q3_k.wgsl.
fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 2u) + sixteenth;
    let block = at >> 4u;
    let base = block * 27u;
    let sub = at & 15u;
    let line = sub >> 1u;
    let bits = base + (sub & 1u) * 4u;
    let start = bits + 8u + (line >> 2u) * 8u;
    let pairs = vec4<u32>(words[start], words[start + 1u], words[start + 2u], words[start + 3u]);
    let thirds = vec4<u32>(words[bits], words[bits + 1u], words[bits + 2u], words[bits + 3u]);
    let low2 = (pairs >> vec4<u32>((line & 3u) * 2u)) & vec4<u32>(0x03030303u);
    let third = ((thirds >> vec4<u32>(line)) & vec4<u32>(0x01010101u)) << vec4<u32>(2u);
    let low = (words[base + 24u + ((sub & 7u) >> 2u)] >> ((sub & 3u) * 8u + (sub >> 3u) * 4u)) & 15u;
    let high = (words[base + 26u] >> ((sub & 3u) * 8u + (sub >> 2u) * 2u)) & 3u;
    let scale = scale_of(block) * (f32(low | (high << 4u)) - 32.0);
    return bytes(low2 | third, scale, 4.0 * scale);
}
