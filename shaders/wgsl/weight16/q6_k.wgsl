// Sixteen of Q6_K; the layout is described in weight/q6_k.wgsl.
fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 2u) + sixteenth;
    let block = at >> 4u;
    let base = block * 13u;
    let line = (at >> 1u) & 7u;
    let half = line >> 2u;
    let part = line & 3u;
    let odd = at & 1u;
    let low = (quads[base + half * 4u + (part & 1u) * 2u + odd] >> vec4<u32>((part >> 1u) * 4u)) & vec4<u32>(0x0f0f0f0fu);
    let high = ((quads[base + 8u + half * 2u + odd] >> vec4<u32>(part * 2u)) & vec4<u32>(0x03030303u)) << vec4<u32>(4u);
    let sub = at & 15u;
    // A signed byte: up to the top of the word, and down again.
    let sub_scale = bitcast<i32>(words[base * 4u + 48u + (sub >> 2u)] << (24u - 8u * (sub & 3u))) >> 24u;
    let scale = scale_of(block) * f32(sub_scale);
    return bytes(low | high, scale, 32.0 * scale);
}
