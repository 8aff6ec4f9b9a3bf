// Sum over a workgroup of 64 lanes, in an order that does not depend on the device: two barriers.
var<workgroup> lane_values: array<f32, 64>;
var<workgroup> eighth_values: array<f32, 8>;

fn workgroup_sum(value: f32, lane: u32) -> f32 {
    lane_values[lane] = value;
    workgroupBarrier();
    if (lane < 8u) {
        var sum = 0.0;
        for (var i = 0u; i < 8u; i += 1u) {
            sum += lane_values[lane * 8u + i];
        }
        eighth_values[lane] = sum;
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < 8u; i += 1u) {
        sum += eighth_values[i];
    }
    return sum;
}
