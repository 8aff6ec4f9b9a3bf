// Part of the bodies of attention by tiles: which tile of queries of which head a workgroup takes, and where what belongs to it begins.
    let index = linear_group(group);
    let tile = index % p.query_tiles;
    let head = (index / p.query_tiles) % p.heads;
    let batch = index / (p.query_tiles * p.heads);
    //#if PAGED
    if (batch > 0u) {
        return;
    }
    let q_base = p.q_base + head * p.head_dim;
    let y_base = p.y_base + head * p.head_dim;
    let k_base = p.k_base + (head / p.heads_per_kv) * head_words();
    let v_base = p.v_base + (head / p.heads_per_kv) * head_words();
    //#else
    if (batch >= p.batches) {
        return;
    }
    let q_base = p.q_base + batch * p.q_batch_stride + head * p.head_dim;
    let y_base = p.y_base + batch * p.q_batch_stride + head * p.head_dim;
    let k_base = p.k_base + batch * p.kv_batch_stride + (head / p.heads_per_kv) * p.head_dim;
    let v_base = p.v_base + batch * p.kv_batch_stride + (head / p.heads_per_kv) * p.head_dim;
    //#if MASK
    let mask_base = p.mask_base + batch * p.mask_batch_stride + head * p.mask_head_stride;
    //#endif
    //#endif
