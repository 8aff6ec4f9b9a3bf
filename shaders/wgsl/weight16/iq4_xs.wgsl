// Sixteen of IQ4_XS; the layout is described in weight/iq4_xs.wgsl.
//#include nonlinear4

fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 2u) + sixteenth;
    let base = (at >> 4u) * 34u;
    let sub = (at >> 1u) & 7u;
    let low = (words[base + 1u] >> (sub * 4u)) & 15u;
    let high = (words[base] >> (16u + sub * 2u)) & 3u;
    let scale = unpack2x16float(words[base]).x * (f32(low | (high << 4u)) - 32.0);
    let start = base + 2u + sub * 4u;
    let nibbles = vec4<u32>(words[start], words[start + 1u], words[start + 2u], words[start + 3u]);
    let q = (nibbles >> vec4<u32>((at & 1u) * 4u)) & vec4<u32>(0x0f0f0f0fu);
    return Sixteen(looked_up(q.x), looked_up(q.y), looked_up(q.z), looked_up(q.w), scale, 0.0);
}
