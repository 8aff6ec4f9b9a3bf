struct Params {
    //#include product_params
    //#include epilogue_params
    //#include deal_params
    pairs: u32, // where the second half of the weight rows makes gates of the first: the rows of a half; else 0
    gate: u32, // function of the second half
}
@group(0) @binding(0) var<uniform> p: Params;
