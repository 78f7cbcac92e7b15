// Ranking for evaluation, over one tile of the catalogue: W columns for each of B rows of scores.
// ids: [W] for all rows (ids_row 0) or [B, W] (ids_row W); 0: no item. exclude_items[exclude_offsets[b]..
// exclude_offsets[b + 1]], ascending, do not compete in row b. One workgroup a row.
// Counting is by integer atomics in workgroup memory: any order gives the same count.
//!import index
//!import math
struct Params { rows: u32, w: u32, ids_row: u32, k: u32, begin: u32, end: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> scores: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> exclude_offsets: array<u32>;
@group(0) @binding(3) var<storage, read> exclude_items: array<u32>;

fn excluded(b: u32, id: u32) -> bool {
    var low = exclude_offsets[b];
    var high = exclude_offsets[b + 1u];
    while low < high {
        let middle = low + (high - low) / 2u;
        let here = exclude_items[middle];
        if here == id {
            return true;
        }
        if here < id {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return false;
}

@group(0) @binding(4) var<storage, read> wanted: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
var<workgroup> first: atomic<u32>;

// y[b] = the score of item wanted[b] where it is in the tile, at its first column, else 0.
@compute @workgroup_size(WG)
fn pick(grid: Grid, me: Invocation) {
    let b = group_index(grid);
    if b >= p.rows {
        return;
    }
    let local = local_index(me, WG);
    if local == 0u {
        atomicStore(&first, p.w);
    }
    workgroupBarrier();
    for (var c = local; c < p.w; c += WG) {
        if ids[b * p.ids_row + c] == wanted[b] {
            atomicMin(&first, c);
        }
    }
    workgroupBarrier();
    if local == 0u {
        let c = atomicLoad(&first);
        var score = 0.0;
        if c < p.w {
            score = scores[b * p.w + c];
        }
        y[b] = score;
    }
}

@group(0) @binding(6) var<storage, read> target_score: array<f32>;
@group(0) @binding(7) var<storage, read_write> counts: array<u32>;   // [B, 4]
var<workgroup> tally: array<atomic<u32>, 4>;
var<workgroup> broken: atomic<u32>; // the lowest item whose score is not finite, 0 for the target

// Where there is no broken item; and what counts[b, 0] is where there is one.
const NONE: u32 = 0xffffffffu;

// counts[b] = how many competing items score above target_score[b] and how many as much, then the same of the excluded
// items. Where a score is not finite: NONE, the lowest such item (0: the target), 0, 0.
@compute @workgroup_size(WG)
fn rank(grid: Grid, me: Invocation) {
    let b = group_index(grid);
    if b >= p.rows {
        return;
    }
    let local = local_index(me, WG);
    for (var i = local; i < 4u; i += WG) {
        atomicStore(&tally[i], 0u);
    }
    if local == 0u {
        atomicStore(&broken, select(0u, NONE, is_finite(target_score[b])));
    }
    workgroupBarrier();
    let bar = target_score[b];
    for (var c = local; c < p.w; c += WG) {
        let score = scores[b * p.w + c];
        let finite = is_finite(score);
        if !finite || score >= bar {
            let id = ids[b * p.ids_row + c];
            if id != 0u && !finite {
                atomicMin(&broken, id);
            } else if id != 0u {
                atomicAdd(&tally[select(1u, 0u, score > bar) + select(0u, 2u, excluded(b, id))], 1u);
            }
        }
    }
    workgroupBarrier();
    if local == 0u {
        let item = atomicLoad(&broken);
        counts[b * 4u] = select(NONE, atomicLoad(&tally[0]), item == NONE);
        counts[b * 4u + 1u] = select(item, atomicLoad(&tally[1]), item == NONE);
        counts[b * 4u + 2u] = select(0u, atomicLoad(&tally[2]), item == NONE);
        counts[b * 4u + 3u] = select(0u, atomicLoad(&tally[3]), item == NONE);
    }
}

@group(0) @binding(8) var<storage, read> best_scores: array<f32>;   // [B, k], descending
@group(0) @binding(9) var<storage, read> best_ids: array<u32>;     // [B, k], 0: none yet
@group(0) @binding(10) var<storage, read_write> new_scores: array<f32>;
@group(0) @binding(11) var<storage, read_write> new_ids: array<u32>;

// `place`, from 1 on, tells apart items that occur twice: the best so far come first, then the columns.
struct Candidate { score: f32, id: u32, place: u32 }
const NOBODY: Candidate = Candidate(0.0, 0u, 0u);
// What a score that is not finite is taken as: above all others, and comparable.
const NOT_FINITE: f32 = 3.4028234663852886e38;
// Stands before every other.
const START: Candidate = Candidate(NOT_FINITE, 1u, 0u);

// Whether a stands before b in the ranking: higher score, then lower id. Nobody (id 0) stands last.
fn precedes(a: Candidate, b: Candidate) -> bool {
    if a.id == 0u || b.id == 0u {
        return a.id != 0u;
    }
    if a.score != b.score {
        return a.score > b.score;
    }
    if a.id != b.id {
        return a.id < b.id;
    }
    return a.place < b.place;
}

fn candidate(b: u32, place: u32) -> Candidate {
    if place < p.k {
        return Candidate(best_scores[b * p.k + place], best_ids[b * p.k + place], place + 1u);
    }
    let c = place - p.k;
    let score = scores[b * p.w + c];
    return Candidate(select(NOT_FINITE, score, is_finite(score)), ids[b * p.ids_row + c], place + 1u);
}

var<workgroup> leaders: array<Candidate, WG>; // WG * 12 bytes

// The k best of the best so far and this tile. Round r finds the first of all candidates that
// stand after the one of round r - 1: since no two are equal in the ranking, nobody needs to be marked as taken. A launch makes
// rounds begin .. end, and leaves the position of its last candidate where the next one writes its first id.
@compute @workgroup_size(WG)
fn top_k(grid: Grid, me: Invocation) {
    let b = group_index(grid);
    if b >= p.rows {
        return;
    }
    let local = local_index(me, WG);
    var last = START;
    if p.begin > 0u {
        let before = b * p.k + p.begin - 1u;
        last = Candidate(new_scores[before], new_ids[before], new_ids[before + 1u]);
    }
    for (var r = p.begin; r < p.end; r++) {
        var leader = NOBODY;
        for (var place = local; place < p.k + p.w; place += WG) {
            let c = candidate(b, place);
            // FXC refuses barriers in a loop whose body asks for its first round (X3663).
            if precedes(c, leader) && precedes(last, c) && (place < p.k || !excluded(b, c.id)) {
                leader = c;
            }
        }
        leaders[local] = leader;
        workgroupBarrier();
        for (var half = WG / 2u; half > 0u; half /= 2u) {
            if local < half && precedes(leaders[local + half], leaders[local]) {
                leaders[local] = leaders[local + half];
            }
            workgroupBarrier();
        }
        last = leaders[0];
        workgroupBarrier(); // before the next round writes
        if local == 0u {
            // With nobody left, the rest is filled with the last of the best so far.
            new_scores[b * p.k + r] = select(last.score, best_scores[b * p.k + p.k - 1u], last.id == 0u);
            new_ids[b * p.k + r] = last.id;
        }
    }
    if local == 0u && p.end < p.k {
        new_ids[b * p.k + p.end] = last.place;
    }
}
