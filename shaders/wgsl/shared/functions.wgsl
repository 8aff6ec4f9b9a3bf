// Activation functions that neither overflow nor give NaN for large values, whatever the driver makes of exp and tanh.

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(min(-x, 88.0)));
}

// tanh by exp; the built-in one overflows on some drivers.
fn tanh_safe(x: f32) -> f32 {
    let a = min(abs(x), 12.0);
    // Near zero the quotient cancels; there the odd Taylor series is exact to f32.
    let s = a * a;
    let series = a * (1.0 + s * (-0.33333334 + s * (0.13333334 + s * (-0.053968254 + s * 0.021869488))));
    let quotient = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    return select(1.0, -1.0, x < 0.0) * select(quotient, series, a < 0.25);
}

// The error function: an odd polynomial below 1 and exp(-x^2) times a polynomial in 1/(1 + x/2) above, both fitted by
// least squares at Chebyshev points; absolute error below 2e-7.
fn erf(x: f32) -> f32 {
    let a = abs(x);
    let s = a * a;
    let central = a * (1.12837917 + s * (-0.376126269 + s * (0.112835974 + s * (-0.0268543265
        + s * (0.00518930776 + s * (-0.000801881859 + s * 0.0000788237606))))));
    let t = 1.0 / (1.0 + 0.5 * a);
    let q = 0.28208444 + t * (0.28237733 + t * (0.24351942 + t * (0.19814188 + t * (-0.00469336
        + t * (0.22049537 + t * (-0.40199549 + t * (0.21769798 + t * -0.03739502)))))));
    let tail = 1.0 - exp(-min(s, 80.0)) * t * q;
    return select(1.0, -1.0, x < 0.0) * select(tail, central, a < 1.0);
}

fn silu(x: f32) -> f32 {
    return x * sigmoid(x);
}

fn gelu(x: f32) -> f32 {
    return 0.5 * x * (1.0 + erf(x * 0.70710678));
}

fn gelu_tanh(x: f32) -> f32 {
    // The cube of a large value overflows, and tanh is 1 long before.
    let c = clamp(x, -50.0, 50.0);
    return 0.5 * x * (1.0 + tanh_safe(0.7978845608 * (c + 0.044715 * c * c * c)));
}

fn quick_gelu(x: f32) -> f32 {
    return x * sigmoid(1.702 * x);
}
