    positions_base: u32,
    sequences_base: u32,
    tables_base: u32,
    sequences: u32,
    max_pages: u32,
    first_page: u32, // of the window
    pages: u32, // of the window
    softcap: f32, // 0: none
    window: u32, // positions that a row sees
