// Sixteen of IQ4_NL; the layout is described in weight/iq4_nl.wgsl.
//#include nonlinear4

fn weight16(row: u32, sixteenth: u32) -> Sixteen {
    let at = row * (p.weight_stride >> 2u) + sixteenth;
    let block = at >> 1u;
    let q = (quads[block] >> vec4<u32>((at & 1u) * 4u)) & vec4<u32>(0x0f0f0f0fu);
    return Sixteen(looked_up(q.x), looked_up(q.y), looked_up(q.z), looked_up(q.w), scale_of(block), 0.0);
}
