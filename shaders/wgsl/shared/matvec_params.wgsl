struct Params {
    //#include product_params
    //#include epilogue_params
}
@group(0) @binding(0) var<uniform> p: Params;
