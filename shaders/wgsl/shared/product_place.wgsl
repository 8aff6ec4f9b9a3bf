// Where an element of a product lies: in rows, or, where `y_plane` is not beyond all rows, in one column after the other for every `y_plane` rows.
fn place(row: u32, column: u32) -> u32 {
    let global = p.y_row_begin + row;
    let outer = global / p.y_plane;
    return p.y_base + outer * p.y_outer + (global - outer * p.y_plane) * p.y_stride + column * p.y_step;
}
