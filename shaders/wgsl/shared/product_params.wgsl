    grid_x: u32,
    grid_y: u32,
    weight_stride: u32, // chunks of four elements a weight row
    weight_scales: u32, // first word of the section of scales
    k: u32,
    n: u32, // weight rows bound
    rows: u32, // rows of x
    x_base: u32,
    y_base: u32,
    y_stride: u32,
    bias_base: u32,
    has_bias: u32,
