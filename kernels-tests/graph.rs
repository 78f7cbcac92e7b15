//! The graph: reverse mode, plans, states. Random small graphs go through all that a kernel's case goes through.

use crate::harness::recipe::{indices, normal};
use crate::harness::run::Compiled;
use crate::harness::{Case, checks, devices, run};
use libtest_mimic::{Failed, Trial};
use wgrec::device::{Device, RunOptions, Runner, Store};
use wgrec::graph::plan::{Options, Plan};
use wgrec::graph::{Gradient, Graph, Var};
use wgrec::kernels::elementwise::{Chain, Fun};
use wgrec::kernels::reduce::SumSquares;
use wgrec::tensor::philox::Stream;
use wgrec::tensor::segments::Segments;
use wgrec::tensor::{Spec, Tensor};

const RANDOM_GRAPHS: u64 = 24;

type Test = fn(&Device) -> Result<(), Failed>;

pub fn trials() -> Vec<Trial> {
    let random = (0..RANDOM_GRAPHS).map(random_case);
    let mut trials: Vec<Trial> = random.clone().flat_map(|c| checks::trials("graph", c)).collect();
    trials.extend(random.map(|case| {
        Trial::test(format!("graph::{}::plans", case.name), move || {
            devices::all().into_iter().try_for_each(|d| plans_agree(&case, &devices::get(d)?))
        })
    }));
    let on_devices: [(&str, Test); 12] = [
        ("gradients_by_values_on_the_way", by_values_on_the_way),
        ("plans_of_one_store_share_their_buffers", shared_buffers),
        ("a_state_is_read_before_it_is_written", reads_come_before_writes),
        ("ranges_of_one_state", ranges_of_one_state),
        ("a_written_state_is_read_as_written", reads_after_a_write),
        ("checkpoint_keeps_results_and_less_memory", checkpoint),
        ("stop_gradient", stop_gradient),
        ("padding_takes_no_gradient", padding),
        ("segments_equal_the_dense_gradient", segments_equal_dense),
        ("the_same_plan_twice_over_one_store", two_plans_one_store),
        ("a_computed_table_has_the_gradient_of_its_segments", computed_table),
        ("a_prepared_value_is_computed_once", prepared),
    ];
    for (name, test) in on_devices {
        for device in devices::all() {
            trials.push(Trial::test(format!("graph::{name}::{device}"), move || test(&devices::get(device)?)));
        }
    }
    trials.push(Trial::test("graph::an_op_without_a_rule_is_an_error", no_rule));
    trials.push(Trial::test("graph::a_parameter_without_a_gradient_is_an_error", unreached));
    trials.push(Trial::test("graph::old_and_new_value_at_once_is_an_error", old_and_new));
    trials.push(Trial::test("graph::indices_outside_the_segments_are_an_error", foreign_indices));
    trials
}

/// A graph drawn from `seed`: values are used more than once, sliced, joined, permuted, broadcast, reduced.
fn random_case(seed: u64) -> Case {
    Case::new(format!("random_{seed}"))
        .input(normal([3, 4]))
        .input(normal([4]))
        .parameter(normal([3, 1]))
        .parameter(normal([5, 4]))
        .fixed(indices([6], 5))
        .ops(move |g, x| random_graph(seed, g, x))
        .tolerance(2e-5, 2e-5)
}

fn random_graph<'g>(seed: u64, g: &'g Graph, x: &[Var<'g>]) -> Vec<Var<'g>> {
    let mut s = Stream::new(seed, "random graph", 0);
    let mut pool: Vec<Var> = x[..4].to_vec();
    pool.push(x[3].gather(x[4]));
    let pick = |pool: &[Var<'g>], s: &mut Stream| pool[s.below(pool.len() as u32) as usize];
    for _ in 0..14 {
        let a = pick(&pool, &mut s);
        let (shape, rank) = (a.shape(), a.shape().len());
        let axis = if rank > 0 { s.below(rank as u32) as usize } else { 0 };
        let new = match s.below(12) {
            0 => a.tanh(),
            1 => a.sin(),
            2 => (a * a).sigmoid(),
            3 => a.scale(0.7).softplus() - a.gelu(),
            4 if rank > 0 => a.slice(axis, 0, shape[axis].div_ceil(2)),
            5 if rank > 0 => g.concat(axis, &[a, a.sin()]),
            6 if rank == 2 => a.transpose(),
            7 if rank > 0 => a.sum(axis).sin(),
            8 if rank > 0 => a.softmax(axis, None),
            9 if rank == 2 => a.matmul_t(a).sin(),
            10 => a.reshape([shape.elements()]),
            _ => {
                // The first value from here on that broadcasts with it.
                let start = s.below(pool.len() as u32) as usize;
                let fits = (0..pool.len()).map(|i| pool[(start + i) % pool.len()]);
                let b = fits.into_iter().find(|b| b.shape().broadcast(&shape).is_some()).unwrap_or(a);
                match s.below(3) {
                    0 => a + b,
                    1 => (a * b).sin(),
                    _ => a - b.tanh(),
                }
            }
        };
        if new.shape().elements() <= 400 {
            pool.push(new);
        }
    }
    // All operands are reached, whatever was drawn.
    let all = pool.iter().map(|v| v.mean_all()).reduce(|a, b| a + b).expect("the pool is not empty");
    pool[pool.len() - 2..].iter().copied().chain([all]).collect()
}

/// Reusing memory changes no bit; fusing stays within tolerance.
fn plans_agree(case: &Case, device: &Device) -> Result<(), Failed> {
    let run = |no_reuse, no_fuse| {
        Compiled::new(case, device, true, Options { no_reuse, no_fuse, ..Options::default() })?.run()
    };
    let reused = run(false, false)?;
    checks::equals("with reuse", &reused, &run(true, false)?)?;
    let unfused = run(false, true)?;
    checks::equals("unfused, with reuse", &unfused, &run(true, true)?)?;
    checks::agrees("fused", case, &reused, &unfused)
}

/// Results of a run, in the order they were declared in, and the states after it.
type Executed = (Vec<Tensor>, Vec<Tensor>);

/// Runs `graph` once from `states`.
fn execute(
    device: &Device,
    graph: &Graph,
    states: &[(&str, Tensor)],
    inputs: &[(&str, Tensor)],
) -> Result<Executed, Failed> {
    let plan = device.plan(graph, Options::default())?;
    let sizes: Vec<_> = states.iter().map(|(name, t)| (name.to_string(), t.shape.elements())).collect();
    let mut store = device.store(&sizes)?;
    for (name, t) in states {
        store.write(name, 0, t)?;
    }
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    for (name, t) in inputs {
        runner.write(name, t)?;
    }
    runner.run()?;
    let mut results = vec![];
    for (name, _) in &plan.results {
        results.push(runner.read(name)?);
    }
    let after = states.iter().map(|(name, t)| store.read(name, 0, &t.spec())).collect::<Result<_, _>>()?;
    Ok((results, after))
}

fn expect(what: &str, got: &Tensor, want: &[f64]) -> Result<(), Failed> {
    if got.to_f64() == want { Ok(()) } else { Err(format!("{what}: got {:?}, want {want:?}", got.to_f64()).into()) }
}

fn vector(values: &[f64]) -> Tensor {
    Tensor::f64([values.len()], values.to_vec())
}

/// Also those that were added to the graph after the write, through views, and in chains that other values share.
fn reads_come_before_writes(device: &Device) -> Result<(), Failed> {
    let g = Graph::new();
    let p = g.state("p", "p", 0, Spec::f32([4]));
    let view = p.reshape([2, 2]);
    let new = g.assign(p, p.scale(2.0));
    g.result("added after", p + p.constant_like(1.0));
    g.result("view", view.transpose());
    g.result("chain", (p.square() - p).scale(3.0));
    g.result("old and new", new.reshape([2, 2]) + view.slice(0, 0, 1));
    let (results, after) = execute(device, &g, &[("p", vector(&[1.0, 2.0, 3.0, 4.0]))], &[])?;
    expect("added after the write", &results[0], &[2.0, 3.0, 4.0, 5.0])?;
    expect("view", &results[1], &[1.0, 3.0, 2.0, 4.0])?;
    expect("chain", &results[2], &[0.0, 6.0, 18.0, 36.0])?;
    expect("old and new", &results[3], &[3.0, 6.0, 7.0, 10.0])?;
    expect("state", &after[0], &[2.0, 4.0, 6.0, 8.0])
}

fn ranges_of_one_state(device: &Device) -> Result<(), Failed> {
    let g = Graph::new();
    // Bindings start at multiples of 256 bytes.
    let (a, b) = (g.state("a", "p", 0, Spec::f32([3])), g.state("b", "p", 64, Spec::f32([3])));
    g.assign(a, b + a);
    g.assign(b, b.scale(10.0));
    g.result("b", b.scale(1.0));
    let mut before = vec![0.0; 128];
    before[..3].copy_from_slice(&[1.0, 2.0, 3.0]);
    before[64..67].copy_from_slice(&[4.0, 5.0, 6.0]);
    before[3] = -1.0;
    before[67] = -2.0;
    let (results, after) = execute(device, &g, &[("p", vector(&before))], &[])?;
    expect("b before", &results[0], &[4.0, 5.0, 6.0])?;
    let after = after[0].to_f64();
    expect("a", &vector(&after[..4]), &[5.0, 7.0, 9.0, -1.0])?;
    expect("b", &vector(&after[64..68]), &[40.0, 50.0, 60.0, -2.0])
}

fn reads_after_a_write(device: &Device) -> Result<(), Failed> {
    let g = Graph::new();
    let p = g.state("p", "p", 0, Spec::f32([3]));
    let new = g.assign(p, p + p.constant_like(1.0));
    g.result("square", new.square());
    g.result("new", new);
    let (results, after) = execute(device, &g, &[("p", vector(&[1.0, 2.0, 3.0]))], &[])?;
    expect("square", &results[0], &[4.0, 9.0, 16.0])?;
    expect("new", &results[1], &[2.0, 3.0, 4.0])?;
    expect("state", &after[0], &[2.0, 3.0, 4.0])
}

/// A deep stack of layers, whole or recomputed layer by layer.
fn deep(checkpointed: bool) -> Case {
    Case::new("deep")
        .input(normal([40, 32]))
        .parameter(normal([32, 32]).scale(0.3))
        .op(move |g, x| {
            let mut h = x[0];
            for i in 0..6 {
                let layer = || {
                    let y = h.matmul(x[1]).tanh();
                    (y.sigmoid() * h.matmul_t(x[1])).sin().dropout(0.2) + y.softmax(1, None)
                };
                h = g.scope(&format!("{i}"), || if checkpointed { g.checkpoint(layer) } else { layer() });
            }
            h
        })
        .tolerance(1e-4, 1e-4)
}

fn checkpoint(device: &Device) -> Result<(), Failed> {
    let (whole, again) = (deep(false), deep(true));
    let (recomputed, kept) = (run::run(&again, device)?, run::run(&whole, device)?);
    match device {
        Device::Cpu(_) => checks::equals("recomputed", &recomputed, &kept)?,
        // The two fuse other chains, and a GPU may round a product and a sum within one chain once.
        Device::Gpu(_) => checks::agrees("recomputed", &whole, &recomputed, &kept)?,
    }
    let bytes =
        |case: &Case| Ok::<usize, Failed>(Plan::new(&run::graph(case, true, false)?, Options::default())?.pool_bytes());
    let (before, after) = (bytes(&whole)?, bytes(&again)?);
    if after * 4 < before * 3 { Ok(()) } else { Err(format!("{after} bytes recomputed, {before} kept").into()) }
}

fn stop_gradient(device: &Device) -> Result<(), Failed> {
    let g = Graph::new();
    let x = g.input("x", Spec::f32([3]));
    let loss = (x.stop_gradient() * x + x.square().stop_gradient()).sum_all();
    g.result("dx", g.gradients(loss, &[x])?[0].dense(x));
    let (results, _) = execute(device, &g, &[], &[("x", vector(&[1.0, -2.0, 3.0]))])?;
    expect("dx", &results[0], &[1.0, -2.0, 3.0])?;
    let cut = g.gradients(x.stop_gradient().sum_all(), &[x]);
    if cut.is_err() { Ok(()) } else { Err("nothing reaches x, and no error says so".into()) }
}

fn by_values_on_the_way(device: &Device) -> Result<(), Failed> {
    let g = Graph::new();
    let x = g.input("x", Spec::f32([3]));
    let y = x.square();
    let z = y.scale(2.0);
    let loss = (z * z + y).sum_all();
    let gradients = g.gradients(loss, &[y, x, z, loss])?;
    for (name, (gradient, of)) in ["y", "x", "z", "loss"].iter().zip(gradients.into_iter().zip([y, x, z, loss])) {
        g.result(name, gradient.dense(of));
    }
    let (results, _) = execute(device, &g, &[], &[("x", vector(&[1.0, -2.0, 3.0]))])?;
    // loss = sum of 4 y^2 + y.
    expect("dy", &results[0], &[9.0, 33.0, 73.0])?;
    expect("dx", &results[1], &[18.0, -132.0, 438.0])?;
    expect("dz", &results[2], &[4.0, 16.0, 36.0])?;
    expect("dloss", &results[3], &[1.0])
}

/// Two plans in turn over one store, whose results are read only after both ran: as if each were alone.
fn shared_buffers(device: &Device) -> Result<(), Failed> {
    let graph = |n: usize| {
        let g = Graph::new();
        let x = g.input("x", Spec::f32([n, n]));
        let y = x.matmul(x).softmax(1, None).matmul(x.sin());
        g.result("sum", y.square().sum_all());
        g.result("y", y);
        g
    };
    let plan = |n: usize| device.plan(&graph(n), Options::default());
    let start = |n: usize, store: &Store| {
        let mut runner = device.compile(&plan(n)?, store, RunOptions::default())?;
        runner.write("x", &Tensor::f64([n, n], (0..n * n).map(|i| (i as f64).cos()).collect()))?;
        Ok::<Runner, Failed>(runner)
    };
    let read = |runner: &mut Runner| Ok::<[Tensor; 2], Failed>([runner.read("sum")?, runner.read("y")?]);
    let sizes = [40, 24, 7];
    let store = device.store(&[])?;
    let mut together = vec![start(sizes[0], &store)?];
    let of_largest = store.shared_bytes();
    for n in &sizes[1..] {
        together.push(start(*n, &store)?);
    }
    // What the smaller ones need lies in what the largest has.
    if of_largest == 0 || store.shared_bytes() != of_largest {
        return Err(format!("{of_largest} bytes shared, then {}", store.shared_bytes()).into());
    }
    for _ in 0..2 {
        together.iter_mut().try_for_each(|runner| runner.run())?;
    }
    for (&n, runner) in sizes.iter().zip(&mut together) {
        let mut alone = start(n, &device.store(&[])?)?;
        alone.run()?;
        if read(runner)? != read(&mut alone)? {
            return Err(format!("the plan of {n} is disturbed by the others").into());
        }
    }
    Ok(())
}

/// A case of two gathers, with or without segments; rows from 1 on.
fn gathers(segmented: bool, padding: bool) -> Case {
    let lists = |n: usize| {
        crate::harness::recipe::integers([n], move |s, n| {
            (0..n).map(|i| if padding && i % 3 == 0 { 0 } else { 1 + s.below(39) }).collect()
        })
    };
    let case = Case::new("gathers").parameter(normal([40, 12])).fixed(lists(90)).fixed(lists(64));
    let case = if segmented { case.segments(0, [1, 2]) } else { case };
    case.ops(|_, x| vec![x[0].gather(x[1]).sin(), x[0].gather(x[2]).square(), x[0].gather(x[1])]).tolerance(1e-5, 1e-5)
}

fn segments_equal_dense(device: &Device) -> Result<(), Failed> {
    let case = gathers(true, false);
    checks::agrees("segments", &case, &run::run(&case, device)?, &run::run(&gathers(false, false), device)?)?;
    // And they are rows until someone asks for all of the table.
    let g = Graph::new();
    let table = g.state("table", "table", 0, Spec::f32([100, 4]));
    let list = g.input("list", Spec::u32([7]));
    g.segments("list", table, &[list]);
    match g.gradients(table.gather(list).square().sum_all(), &[table])?[0] {
        Gradient::Rows(rows) if rows.values.shape()[..] == [7, 4] => Ok(()),
        Gradient::Rows(rows) => Err(format!("7 gathered rows have gradients {}", rows.values.shape()).into()),
        Gradient::Dense(_) => Err("the gradient is a dense tensor".into()),
    }
}

/// Row 0 of a segmented table stays as it is; all others are as without segments.
fn padding(device: &Device) -> Result<(), Failed> {
    let (got, want) = (run::run(&gathers(true, true), device)?, run::run(&gathers(false, true), device)?);
    let (got, mut want) = (got.gradients[0].to_f64(), want.gradients[0].to_f64());
    if want[..12].iter().all(|&x| x == 0.0) {
        return Err("the dense gradient of row 0 is 0: the lists hold no padding".into());
    }
    want[..12].fill(0.0);
    let far = got.iter().zip(&want).find(|(g, w)| (*g - *w).abs() > 1e-4 || g.is_nan());
    far.map_or(Ok(()), |(g, w)| Err(format!("got {g}, want {w}").into()))
}

/// Two plans over one store, in turn: training, evaluation, training.
fn two_plans_one_store(device: &Device) -> Result<(), Failed> {
    let (train, test) = (Graph::new(), Graph::new());
    let p = train.state("p", "p", 0, Spec::f32([2]));
    train.assign(p, p + p.constant_like(1.0));
    let p = test.state("p", "p", 0, Spec::f32([2]));
    test.result("sum", p.sum(0));
    let mut store = device.store(&[("p".into(), 2)])?;
    store.write("p", 0, &vector(&[1.0, 5.0]))?;
    let runner = |g: &Graph| device.compile(&device.plan(g, Options::default())?, &store, RunOptions::default());
    let (mut train, mut test) = (runner(&train)?, runner(&test)?);
    for want in [8.0, 10.0] {
        train.run()?;
        test.run()?;
        expect("sum", &test.read("sum")?, &[want])?;
    }
    Ok(())
}

/// Rows gathered from a table that is computed have the gradient that a product with indicators has; without segments a table of
/// this number of rows is refused.
fn computed_table(device: &Device) -> Result<(), Failed> {
    const ROWS: usize = 100;
    let mut s = Stream::new(3, "computed table", 0);
    let list: Vec<u32> = (0..150).map(|_| 1 + s.below(ROWS as u32 - 1)).collect();
    let values: Vec<f32> = (0..ROWS * 4).map(|_| s.normal() as f32).collect();
    let gradient = |gathers: bool, segmented: bool| -> Result<Vec<f64>, wgrec::Error> {
        let g = Graph::new();
        let p = g.state("p", "p", 0, Spec::f32([ROWS, 4]));
        let (table, ids) = (p.tanh() + p.square(), g.input("ids", Spec::u32([list.len()])));
        if segmented {
            g.segments("ids.segments", table, &[ids]);
        }
        let all = g.constant(Tensor::u32([1, ROWS], (0..ROWS as u32).collect()));
        let rows = match gathers {
            true => table.gather(ids),
            false => ids.reshape([list.len(), 1]).equal(all).matmul(table),
        };
        // The table is used as a whole too.
        let loss = rows.sin().sum_all() + table.square().sum_all();
        g.result("gradient", g.gradients(loss, &[p])?[0].dense(p));
        let mut store = device.store(&[("p".into(), ROWS * 4)])?;
        store.write("p", 0, &Tensor::f32([ROWS, 4], values.clone()))?;
        let mut runner = device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?;
        runner.write_u32("ids", &list)?;
        if segmented {
            let mut segments = Segments::default();
            segments.build(&[&list], ROWS);
            runner.write_segments("ids.segments", &segments)?;
        }
        runner.run()?;
        Ok(runner.read("gradient")?.to_f64())
    };
    let (got, want) = (gradient(true, true)?, gradient(false, false)?);
    if let Some((g, w)) = got.iter().zip(&want).find(|(g, w)| (*g - *w).abs() > 1e-4 * (1.0 + w.abs()) || g.is_nan()) {
        return Err(format!("got {g}, want {w}").into());
    }
    fails(gradient(true, false), "64")
}

/// What depends on parameters alone is traced once a graph; a plan of its own keeps it for other graphs, until it runs again.
fn prepared(device: &Device) -> Result<(), Failed> {
    let traced = std::cell::Cell::new(0);
    let trace = |g: &Graph| {
        let p = g.state("p", "p", 0, Spec::f32([2]));
        let tower = || {
            traced.set(traced.get() + 1);
            p + p.constant_like(1.0)
        };
        g.result("sum", (g.prepared("tower", tower) + g.prepared("tower", tower)).sum(0));
    };
    let first = Graph::new();
    trace(&first);
    let kept = first.keep_prepared();
    let later = Graph::with_prepared(&kept);
    trace(&later);
    if traced.get() != 1 || kept.len() != 1 {
        return Err(format!("traced {} times, {} values kept", traced.get(), kept.len()).into());
    }
    let mut store = device.store(&[("p".into(), 2), (Graph::prepared_name("tower"), 2)])?;
    let runner = |g: &Graph| device.compile(&device.plan(g, Options::default())?, &store, RunOptions::default());
    let (mut prepare, mut later) = (runner(&first)?, runner(&later)?);
    store.write("p", 0, &vector(&[1.0, 2.0]))?;
    prepare.run()?;
    store.write("p", 0, &vector(&[10.0, 20.0]))?;
    for want in [10.0, 64.0] {
        later.run()?;
        expect("sum", &later.read("sum")?, &[want])?;
        prepare.run()?;
    }
    Ok(())
}

fn fails(result: Result<impl Sized, wgrec::Error>, text: &str) -> Result<(), Failed> {
    match result {
        Ok(_) => Err("no error".into()),
        Err(e) if e.to_string().contains(text) => Ok(()),
        Err(e) => Err(format!("the error does not say {text:?}: {e}").into()),
    }
}

fn no_rule() -> Result<(), Failed> {
    let g = Graph::new();
    let x = g.input("x", Spec::f32([3]));
    fails(g.gradients(g.scope("norm", || g.push(SumSquares, &[x])), &[x]), "norm/sum of squares: has no gradient rule")
}

/// Cut off, used only by a comparison, or not used at all.
fn unreached() -> Result<(), Failed> {
    let g = Graph::new();
    let (x, w) = (g.input("x", Spec::f32([3])), g.input("frozen weight", Spec::f32([3])));
    let says = "frozen weight: is to be trained but no gradient reaches it";
    fails(g.gradients(x.sum_all(), &[x, w]), says)?;
    fails(g.gradients((x + w.stop_gradient()).sum_all(), &[x, w]), says)?;
    fails(g.gradients((x * w.greater(x)).sum_all(), &[x, w]), says)?;
    fails(g.gradients(g.push(Chain::of(Fun::Sign), &[w]).sum_all(), &[w]), says)
}

fn old_and_new() -> Result<(), Failed> {
    let g = Graph::new();
    let p = g.state("p", "p", 0, Spec::f32([3]));
    let new = g.assign(p, p.scale(2.0));
    // One op that reads both: they are the same memory.
    g.result("sum", new + p);
    fails(Plan::new(&g, Options::default()), "needs both the old and the new value of a state")
}

fn foreign_indices() -> Result<(), Failed> {
    let g = Graph::new();
    let table = g.state("table", "table", 0, Spec::f32([100, 4]));
    let (list, other) = (g.input("list", Spec::u32([7])), g.input("other", Spec::u32([7])));
    g.segments("list", table, &[list]);
    let loss = (table.gather(list) + table.gather(other)).sum_all();
    fails(g.gradients(loss, &[table]), "other: gathers from a table whose declared segments do not hold these indices")
}
