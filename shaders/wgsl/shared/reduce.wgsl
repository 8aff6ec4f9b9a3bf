// Sum over a workgroup of SIDE * SIDE lanes, in an order that does not depend on the device: two barriers. A kernel says what it sums
// (Summed; several sums at once are the lanes of a vector) and SIDE.
var<workgroup> lane_values: array<Summed, SIDE * SIDE>;
var<workgroup> part_values: array<Summed, SIDE>;

fn workgroup_sum(value: Summed, lane: u32) -> Summed {
    lane_values[lane] = value;
    workgroupBarrier();
    if (lane < SIDE) {
        var sum: Summed;
        for (var i = 0u; i < SIDE; i += 1u) {
            sum += lane_values[lane * SIDE + i];
        }
        part_values[lane] = sum;
    }
    workgroupBarrier();
    var sum: Summed;
    for (var i = 0u; i < SIDE; i += 1u) {
        sum += part_values[i];
    }
    return sum;
}
