// Four nibbles, a byte each, as the values of the table that IQ4_NL and IQ4_XS share.
fn looked_up(nibbles: u32) -> vec4<f32> {
    let table = vec4<u32>(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
    let code = unpack4xU8(nibbles);
    return vec4<f32>(
        f32(unpack4xI8(table[code.x >> 2u])[code.x & 3u]),
        f32(unpack4xI8(table[code.y >> 2u])[code.y & 3u]),
        f32(unpack4xI8(table[code.z >> 2u])[code.z & 3u]),
        f32(unpack4xI8(table[code.w >> 2u])[code.w & 3u]),
    );
}
