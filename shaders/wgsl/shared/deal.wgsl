// Where an element of a product lies whose columns are dealt out to several values, each of which has its rows to itself; `whole` where there is only one.
fn dealt(row: u32, column: u32, whole: u32) -> u32 {
    if (p.deal_end_0 == 0u) {
        return whole;
    }
    let at = p.deal_column + column;
    var begin = 0u;
    var end = p.deal_end_0;
    var base = p.deal_base_0;
    if (at >= p.deal_end_0) {
        begin = p.deal_end_0;
        end = p.deal_end_1;
        base = p.deal_base_1;
    }
    if (at >= p.deal_end_1) {
        begin = p.deal_end_1;
        end = p.deal_end_2;
        base = p.deal_base_2;
    }
    if (at >= p.deal_end_2) {
        begin = p.deal_end_2;
        end = p.deal_end_3;
        base = p.deal_base_3;
    }
    return base + (p.deal_row + row) * (end - begin) + (at - begin);
}
