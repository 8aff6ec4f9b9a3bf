// Part of the bodies of attention by tiles: through all keys that any of the tile's queries sees, 32 at a time.
    //#if PAGED
    var run = tile * 64u;
    let tile_end = min(run + 64u, p.queries);
    while (run < tile_end) {
        // The rows from `run` to `run_end` are of one sequence; `limit` positions are seen by at least one of them.
        let sequence = sequences[p.sequences_base + run];
        var run_end = run;
        var limit = 0u;
        var start = 0xffffffffu;
        while (run_end < tile_end && sequences[p.sequences_base + run_end] == sequence) {
            let position = positions[p.positions_base + run_end];
            if (position != NO_SLOT) {
                limit = max(limit, position + 1u);
                start = min(start, max(position + 1u, p.window) - p.window);
            }
            run_end += 1u;
        }
        // Nothing lies beyond the end of a table, and padding rows see nothing.
        limit = min(limit, p.max_pages * 64u);
        let table = p.tables_base + min(sequence, p.sequences - 1u) * p.max_pages;
        var seen = vec4<u32>(0u);
        var hidden = vec4<u32>(0u);
        //#repeat i xyzw
        if (query + OFFSET_{i} >= run && query + OFFSET_{i} < run_end) {
            let position = positions[p.positions_base + query + OFFSET_{i}];
            if (position != NO_SLOT) {
                seen.{i} = min(position + 1u, limit);
                hidden.{i} = max(position + 1u, p.window) - p.window;
            }
        }
        //#end
        for (var key0 = start & ~31u; key0 < limit; key0 += 32u) {
            let page = tables[table + key0 / 64u];
            // Pages of other windows are for other dispatches.
            if (page >= p.first_page && page - p.first_page < p.pages) {
                let slot = (page - p.first_page) * 64u + (key0 & 63u);
                let k_row = k_base + slot * p.kv_stride;
                let v_row = v_base + slot * p.kv_stride;
                let tile_keys = min(32u, limit - key0);
                //#include attention_step
            }
        }
        run = run_end;
    }
    //#else
    // Keys after the tile's last query are seen by none of its queries.
    var seen = vec4<u32>(p.keys);
    var keys = p.keys;
    if (p.causal != 0u) {
        let place = vec4<u32>(p.first_query + query + 1u) + vec4<u32>(0u, 1u, 2u, 3u);
        seen = min(seen, max(place, vec4<u32>(p.first_key)) - vec4<u32>(p.first_key));
        keys = min(keys, max(p.first_query + tile * 64u + 64u, p.first_key) - p.first_key);
    }
    for (var key0 = 0u; key0 < keys; key0 += 32u) {
        let k_row = k_base + key0 * p.kv_stride;
        let v_row = v_base + key0 * p.kv_stride;
        let tile_keys = min(32u, p.keys - key0);
        //#include attention_step
    }
    //#endif
