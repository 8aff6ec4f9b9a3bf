// How much a guided answer is brought back to the spread of the prompts' own (Lin et al. 2023, "Common diffusion noise schedules and sample steps are
// flawed", section 3.4): one workgroup, in two passes, the second over deviations from the mean.
//#include mixture_program
alias Summed = vec2<f32>;
const SIDE = 16u;
//#include reduce

// The mean of the prompts' rows, by weight.
fn prompts_at(weights: u32, i: u32) -> f32 {
    var mean = 0.0;
    for (var row = 1u; row < word(2u); row += 1u) {
        mean += factor(weights + row) * row_of(row, i);
    }
    return mean;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if (linear_group(group) != 0u) {
        return;
    }
    let weights = HEAD + word(0u) + word(1u);
    let means = weights + word(2u);
    var sum = vec2<f32>(0.0);
    for (var i = lane; i < p.elements; i += 256u) {
        sum += vec2<f32>(guided_at(weights, i), prompts_at(means, i));
    }
    let mean = workgroup_sum(sum, lane) / f32(p.elements);
    var rest = vec2<f32>(0.0);
    for (var i = lane; i < p.elements; i += 256u) {
        let d = vec2<f32>(guided_at(weights, i), prompts_at(means, i)) - mean;
        rest += d * d;
    }
    let squares = workgroup_sum(rest, lane);
    if (lane == 0u) {
        let ratio = sqrt(squares.y / squares.x);
        let share = factor(6u);
        // Where there is no spread at all nothing is changed.
        var correction = 1.0;
        if (is_finite(ratio)) {
            correction = share * ratio + (1.0 - share);
        }
        atomicStore(&marks[3], bitcast<u32>(correction));
    }
}
