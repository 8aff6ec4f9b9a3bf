// Grids may be folded over three dimensions, since one has at most 65535 workgroups: a kernel works on the
// flattened index and ignores those beyond its work.
fn linear_group(id: vec3<u32>) -> u32 {
    return id.x + p.grid_x * (id.y + p.grid_y * id.z);
}
