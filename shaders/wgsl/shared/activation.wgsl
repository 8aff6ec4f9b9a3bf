//#include functions
// Codes as in `Function` of the registry.
fn apply_function(code: u32, x: f32, a: f32, b: f32) -> f32 {
    switch code {
        case 0u: { return silu(x); }
        case 1u: { return gelu(x); }
        case 2u: { return gelu_tanh(x); }
        case 3u: { return quick_gelu(x); }
        case 4u: { return max(x, 0.0); }
        case 5u: { return tanh_safe(x); }
        case 6u: { return x * a + b; }
        case 8u: { return max(x, 0.0) + a * min(x, 0.0); }
        default: { return min(max(x, a), b); }
    }
}
