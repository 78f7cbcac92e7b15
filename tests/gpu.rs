//! The GPU device against the CPU device, with kernels written here: what it takes to add one.

use wgrec::device::gpu::shader::Shader;
use wgrec::device::gpu::{Gpu, GpuOptions, bind};
use wgrec::device::{Device, Precision, RunOptions, Runner, Store, cpu};
use wgrec::graph::Graph;
use wgrec::graph::plan::{Options, Plan};
use wgrec::kernels::{Args, Caps, Grid, Launch, Op, Operands, Real, Shapes};
use wgrec::tensor::segments::Segments;
use wgrec::tensor::{Spec, Tensor};
use wgrec::{Error, Result, twin};

/// `y = x * factor`.
#[derive(Debug, Clone, Copy)]
struct Scale {
    factor: f32,
    /// Elements written past the end of y: a planted error.
    beyond: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    factor: f32,
}

const SCALE: &str = "
struct Params { n: u32, factor: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < p.n { y[id.x] = x[id.x] * p.factor; }
}
";

impl Scale {
    fn twin<T: Real>(&self, a: &Args<T>) {
        a.out("y").iter_mut().zip(a.f("x")).for_each(|(y, &x)| *y = x * T::of(self.factor as f64));
    }
}

impl Op for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "..").out_f32("y", "..")
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let n = s.output("y").elements();
        let params = Params { n: n as u32 + self.beyond, factor: self.factor };
        let launch = Launch::generated(SCALE.into(), "forward").constant("WG", 64);
        Ok(vec![launch.params(params).grid(Grid::threads(n, 64, caps)?)])
    }
}

/// `sum += x` over a state.
#[derive(Debug, Clone, Copy)]
struct Accumulate;

const ACCUMULATE: &str = "
var<immediate> n: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> sum: array<f32>;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < n { sum[id.x] += x[id.x]; }
}
";

impl Accumulate {
    fn twin<T: Real>(&self, a: &Args<T>) {
        a.out("sum").iter_mut().zip(a.f("x")).for_each(|(y, &x)| *y += x);
    }
}

impl Op for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("sum", "..").f32("x", "..").out_f32("sum", "..")
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let n = s.output("sum").elements();
        let launch = Launch::generated(ACCUMULATE.into(), "forward").params(n as u32);
        Ok(vec![launch.grid(Grid::threads(n, 64, caps)?)])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }
}

const N: usize = 100;

/// `twice = 2 x`, `sum += 3 * 2 x` (through a view), and `half` of a small parameter within a state.
fn plan() -> Plan {
    let g = Graph::new();
    let x = g.input("x", Spec::f32([N]));
    let twice = g.push(Scale { factor: 2.0, beyond: 0 }, &[x]);
    let thrice = g.push(Scale { factor: 3.0, beyond: 0 }, &[twice.reshape([4, N / 4]).reshape([N])]);
    let sum = g.state("sum", "sum", 0, Spec::f32([N]));
    g.result("sum", g.push(Accumulate, &[sum, thrice]));
    g.result("twice", twice);
    let small = g.state("b", "small", 64, Spec::f32([3]));
    g.result("half", g.push(Scale { factor: 0.5, beyond: 0 }, &[small]));
    Plan::new(&g, Options::default()).unwrap()
}

fn gpu(options: GpuOptions) -> Gpu {
    Gpu::open_with(None, options).expect("these tests need a GPU or a software Vulkan driver")
}

fn start(device: &Device, plan: &Plan, options: RunOptions) -> (Store, Runner) {
    let mut store = device.store(&[("sum".into(), N), ("small".into(), 67)]).unwrap();
    store.write("small", 64, &Tensor::f64([3], vec![1.0, 2.0, 3.0])).unwrap();
    let mut runner = device.compile(plan, &store, options).unwrap();
    runner.write_f32("x", &(0..N).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    (store, runner)
}

fn check(device: &Device, options: RunOptions) {
    let (store, mut runner) = start(device, &plan(), options);
    for _ in 0..5 {
        runner.run().unwrap();
    }
    let line = |by: f32| Tensor::f32([N], (0..N).map(|i| by * i as f32).collect());
    assert_eq!(runner.read("twice").unwrap(), line(2.0));
    assert_eq!(runner.read("sum").unwrap(), line(30.0));
    assert_eq!(runner.read("half").unwrap(), Tensor::f32([3], vec![0.5, 1.0, 1.5]));
    assert_eq!(store.read("sum", 10, &Spec::f32([2])).unwrap(), Tensor::f32([2], vec![300.0, 330.0]));
    assert!(runner.read("nothing").is_err());
}

#[test]
fn both_devices_agree() {
    check(&Device::Cpu(cpu::Cpu::new(Precision::F32)), RunOptions::default());
    check(&Device::Gpu(gpu(GpuOptions::default())), RunOptions::default());
    let all = GpuOptions {
        reverse: true,
        checked: true,
        guard: true,
        immediates: false,
        subgroups: false,
        cooperative: false,
        ..GpuOptions::default()
    };
    check(&Device::Gpu(gpu(all)), RunOptions { check_finite: true, ..Default::default() });
}

/// A wrong name would leave an input at zeros, unseen.
#[test]
fn inputs_and_states_that_do_not_exist_or_fit_are_named() {
    for device in [Device::open("cpu").unwrap().0, Device::Gpu(gpu(GpuOptions::default()))] {
        let g = Graph::new();
        let (history, gain) = (g.input("history", Spec::u32([2, 3])), g.state("gain", "gain", 0, Spec::f32([3])));
        g.input("recency", Spec::u32([2, 3]));
        g.result("y", history.nonzero() * gain);
        let mut store = device.store(&[("gain".into(), 3)]).unwrap();
        let plan = device.plan(&g, Options::default()).unwrap();
        let mut runner = device.compile(&plan, &store, RunOptions::default()).unwrap();
        let error = |r: wgrec::Result<()>| {
            let error = r.expect_err("it should fail");
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert_eq!(
            error(runner.write_u32("histroy", &[0; 6])),
            "there is no input \"histroy\"; did you mean \"history\"? (the inputs are history, recency, step)"
        );
        assert!(error(runner.write_u32("x", &[0; 6])).starts_with("there is no input \"x\" (the inputs are"));
        assert_eq!(error(runner.write_u32("history", &[0; 5])), "input history is [2, 3]: it takes 6 values, not 5");
        assert_eq!(error(runner.write_f32("history", &[0.0; 6])), "input history is of U32, and F32 was given");
        assert!(error(runner.write("recency", &Tensor::f64([6], vec![0.0; 6]))).contains("recency is of U32"));
        assert!(error(runner.write_segments("segments", &Segments::default())).contains("no input \"segments.rows\""));
        // Nothing depends on it, and a model that does not read it may be given it.
        runner.write_u32("recency", &[1; 6]).unwrap();
        assert!(error(runner.write_u32("recency", &[1; 7])).contains("it takes 6 values, not 7"));
        let long = error(store.write("gain", 1, &Tensor::f32([3], vec![1.0; 3])));
        assert_eq!(long, "state gain has 3 elements: 3 from element 1 on do not lie in it");
        assert!(error(store.read("gain", 0, &Spec::f32([4])).map(drop)).contains("state gain has 3 elements: 4 from"));
        assert!(
            error(store.write("gian", 0, &Tensor::f32([1], vec![1.0])))
                .contains("no state \"gian\"; did you mean \"gain\"?")
        );
        assert!(
            error(runner.read("yy").map(drop)).contains("no result \"yy\"; did you mean \"y\"? (the results are y)")
        );
        runner.write_u32("history", &[1, 0, 2, 0, 0, 3]).unwrap();
        runner.run().unwrap();
    }
    let g = Graph::new();
    let twice = [0, 1].map(|_| g.input("x", Spec::f32([3])));
    g.result("y", twice[0] + twice[1]);
    let error = Plan::new(&g, Options::default()).expect_err("it should fail").to_string();
    assert!(error.contains("two inputs of the graph are called \"x\""), "{error}");
}

#[test]
fn profile_counts_every_node() {
    let device = Device::Gpu(gpu(GpuOptions::default()));
    check(&device, RunOptions { profile: true, check_finite: false });
    let (_store, mut runner) = start(&device, &plan(), RunOptions { profile: true, check_finite: false });
    runner.run().unwrap();
    runner.run().unwrap();
    let timings = runner.timings().unwrap();
    assert_eq!(timings.iter().filter(|t| t.calls == 2 && t.seconds >= 0.0).count(), 4, "{timings:?}");
}

#[test]
fn steps_create_nothing_and_peak_is_as_planned() {
    let gpu = gpu(GpuOptions::default());
    let plan = plan();
    let (store, mut runner) = start(&Device::Gpu(gpu.clone()), &plan, RunOptions::default());
    let Runner::Gpu(inner) = &runner else { unreachable!() };
    let before = inner.created();
    for _ in 0..10 {
        runner.write_f32("x", &[1.0; N]).unwrap();
        runner.run().unwrap();
        runner.read("sum").unwrap();
    }
    let Runner::Gpu(inner) = &runner else { unreachable!() };
    assert_eq!(inner.created(), before);
    // Buffers are rounded up to 16 bytes.
    let (held, planned) = (gpu.held_bytes() as usize, plan.peak_bytes());
    assert!(held >= planned && held <= planned + 16 * 8, "{held} bytes held, {planned} planned");
    drop((store, runner));
    assert_eq!(gpu.held_bytes(), 0);
}

#[test]
fn guards_find_a_write_after_a_value() {
    let options = GpuOptions { guard: true, checked: true, ..Default::default() };
    let device = Device::Gpu(gpu(options));
    for beyond in [0, 1] {
        let g = Graph::new();
        let x = g.input("x", Spec::f32([N]));
        // The value is smaller than the buffer that it would reuse.
        let first = g.push(Scale { factor: 2.0, beyond: 0 }, &[x]);
        g.result("first", first);
        let small = g.state("b", "small", 64, Spec::f32([3]));
        g.result("y", g.scope("here", || g.push(Scale { factor: 2.0, beyond }, &[small])));
        let plan = Plan::new(&g, Options::default()).unwrap();
        let (_store, mut runner) = start(&device, &plan, RunOptions::default());
        runner.run().unwrap();
        let Runner::Gpu(inner) = &runner else { unreachable!() };
        match (beyond, inner.check_guards()) {
            (0, Ok(())) => {}
            (1, Err(Error::Failed(message))) => assert!(message.contains("here/scale"), "{message}"),
            (_, other) => panic!("{beyond} beyond: {other:?}"),
        }
    }
}

#[test]
fn mismatches_are_named() {
    let plan = plan();
    let node = &plan.nodes[0];
    let [launch] = &bind::launches(node, &Caps::default()).unwrap()[..] else { panic!("one launch") };
    let reflect = |text: &str| {
        let launch = Launch::generated(text.into(), launch.entry()).constant("WG", 64);
        Shader::of(node, &launch, false).reflect()
    };
    let fails = |text: String, with: &str| {
        let message = match reflect(&text).and_then(|found| bind::bind(node, launch, &found)) {
            Ok(bound) => panic!("{bound:?}"),
            Err(e) => e.to_string(),
        };
        assert!(message.contains(with), "{message}");
    };
    fails(SCALE.replace("p.factor;", "q.factor;"), "generated shader:9:41");
    fails(SCALE.replace("* p.factor", "* vec2(1.0)"), "generated shader:9");
    fails(SCALE.replace("y: a", "z: a").replace("y[", "z["), "\"z\" is no operand");
    fails(SCALE.replace("n: u32,", "n: u32, m: u32,"), "8 bytes of parameters and its shader takes 12");
    fails(SCALE.replace("<storage, read> x", "<storage, read_write> x"), "declare it `read`");
    fails(SCALE.replace("binding(1)", "binding(0)"), "conflict");
    fails(SCALE.replace("fn forward", "fn backward"), "has no entry point \"forward\", only backward");
}

#[test]
fn shaders_from_elsewhere_are_checked_unless_their_authors_answer_for_them() {
    let g = Graph::new();
    let x = g.input("x", Spec::f32([3, 4]));
    g.result("ours", x.softmax(1, None).exp().matmul(g.input("w", Spec::f32([4, 5]))));
    let checks = |plan: Plan| -> Vec<bool> {
        let launches = plan.nodes.iter().flat_map(|node| bind::launches(node, &Caps::default()).unwrap());
        launches.map(|launch| launch.is_checked()).collect()
    };
    assert_eq!(checks(Plan::new(&g, Options::default()).unwrap()), [false; 3]);
    let theirs = Graph::new();
    theirs.result("y", theirs.push(Scale { factor: 2.0, beyond: 0 }, &[theirs.input("x", Spec::f32([3]))]));
    assert_eq!(checks(Plan::new(&theirs, Options::default()).unwrap()), [true]);
    // SAFETY: it is not launched.
    assert!(!unsafe { Launch::generated(SCALE.into(), "forward").unchecked() }.is_checked());
}

#[test]
fn what_does_not_exist_or_fit_is_named() {
    let message = |r: Result<Gpu>| r.err().expect("an error").to_string();
    assert!(message(Gpu::open(Some(99))).starts_with("there is no gpu:99: gpu:0 is "));
    let gpu = gpu(GpuOptions::default());
    let elements = gpu.caps().binding_bytes as usize / 4 + 1;
    let error = Device::Gpu(gpu).store(&[("item_embedding".into(), elements)]).err().expect("an error").to_string();
    assert!(error.starts_with("item_embedding needs ") && error.contains("in one binding and"), "{error}");
}

/// Why a driver that ends loops after `max_turns` turns is not given `graph`.
fn refusal(graph: &Graph, max_turns: u64) -> Option<String> {
    let caps = Caps { max_turns, ..Caps::default() };
    let plan = Plan::new(graph, Options::default()).unwrap();
    plan.nodes.iter().find_map(|node| bind::launches(node, &caps).err()).map(|e| e.to_string())
}

#[test]
fn loops_that_a_driver_would_end_are_refused() {
    let softmax = |n: usize, max_turns: u64| {
        let g = Graph::new();
        g.result("y", g.input("x", Spec::f32([1, n])).softmax(1, None));
        refusal(&g, max_turns)
    };
    // A lane of 256 goes three times through its share.
    assert_eq!(softmax(256 * 21_000, 65_535), None);
    let message = softmax(256 * 22_000, 65_535).expect("66,000 turns");
    for part in ["softmax", "[1, 5632000]", "66021 turns", "after 65535"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(softmax(256 * 22_000, u64::MAX), None);
    let product = |k: usize, max_turns: u64| {
        let g = Graph::new();
        g.result("y", g.input("a", Spec::f32([4, 5, k])).matmul(g.input("b", Spec::f32([4, k, 5]))));
        refusal(&g, max_turns)
    };
    assert_eq!(product(100, 101), None);
    assert!(product(101, 101).expect("102 turns").contains("[4, 5, 101], [4, 101, 5]"));
}

#[test]
fn a_driver_that_ends_loops_is_found_out() {
    let gpu = gpu(GpuOptions::default());
    let ends = gpu.name().contains("llvmpipe");
    assert_eq!(gpu.caps().max_turns, if ends { 65_535 } else { u64::MAX });
}
