// Vectors from vectors, element by element: sums with factors, which may be polynomials of a mask's element.
//#include mixture_program

const MOST_READ = 12u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group) * 256u + lane;
    if (i >= p.elements) {
        return;
    }
    let reads = min(word(0u), MOST_READ - 1u);
    let writes = word(1u);
    let rows = word(2u);
    let weights = HEAD + word(0u) + writes;
    // All is read before anything is written: what is written may be among it.
    var values: array<f32, MOST_READ>;
    for (var place = 0u; place < reads; place += 1u) {
        values[place] = vectors[word(HEAD + place) * p.elements + i];
    }
    var width = reads;
    if (rows > 0u) {
        var guided = guided_at(weights, i);
        if (word(7u) != 0u) {
            guided *= bitcast<f32>(atomicLoad(&marks[3]));
        }
        if (!is_finite(guided)) {
            // The first evaluation's first place counts; later ones are the consequences.
            let number = word(5u);
            let before = atomicMin(&marks[0], number);
            if (before >= number) {
                atomicMin(&marks[1], i);
                atomicStore(&marks[2], bitcast<u32>(guided));
            }
        }
        values[reads] = guided;
        width += 1u;
    }
    var mask = 0.0;
    if (word(4u) != NONE) {
        mask = vectors[word(4u) * p.elements + i];
    }
    var at = weights + 2u * rows;
    for (var target_place = 0u; target_place < writes; target_place += 1u) {
        var sum = 0.0;
        for (var place = 0u; place < width; place += 1u) {
            let by_mask = factor(at) + mask * (factor(at + 1u) + mask * factor(at + 2u));
            sum += by_mask * values[place];
            at += 3u;
        }
        vectors[word(HEAD + word(0u) + target_place) * p.elements + i] = sum;
    }
}
