// What is made of vectors of equal length that lie one after the other, told by words that change from run to run:
//   0 vectors read    1 vectors written    2 rows of the network's answer    3 the first row's vector    4 the mask's vector, or NONE
//   5 the number of the evaluation    6 share of the correction of guidance    7 whether the correction counts    8.. vectors read, vectors written,
//   a weight for each row, a weight for each row in the mean of the prompts, and three factors for each written of each read; where there are rows,
//   what they are together is read after the others.
struct Params {
    grid_x: u32,
    grid_y: u32,
    elements: u32,
    program: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> program: array<u32>;
@group(0) @binding(2) var<storage, read_write> vectors: array<f32>;
// The first evaluation whose answer held something that is no number; where; what; and the correction of guidance.
@group(0) @binding(3) var<storage, read_write> marks: array<atomic<u32>>;

const HEAD = 8u;
const NONE = 0xffffffffu;

fn word(place: u32) -> u32 {
    return program[p.program + place];
}

fn factor(place: u32) -> f32 {
    return bitcast<f32>(word(place));
}

// Compilers may take it for granted that a float is a number, so what is none is told by its bits.
fn is_finite(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}

fn row_of(row: u32, i: u32) -> f32 {
    return vectors[(word(3u) + row) * p.elements + i];
}

// The rows with their weights: how far the others are from the first.
fn guided_at(weights: u32, i: u32) -> f32 {
    let alone = row_of(0u, i);
    var guided = alone;
    for (var row = 1u; row < word(2u); row += 1u) {
        guided += factor(weights + row) * (row_of(row, i) - alone);
    }
    return guided;
}

//#include grid
