    deal_column: u32, // of the first column of this dispatch, over all values that columns are dealt out to
    deal_row: u32, // of its first row
    deal_end_0: u32, // columns of the first value; 0: there is only one, and nothing is dealt out
    deal_end_1: u32, // of the first two
    deal_end_2: u32,
    deal_end_3: u32,
    deal_base_0: u32, // in `y`
    deal_base_1: u32,
    deal_base_2: u32,
    deal_base_3: u32,
