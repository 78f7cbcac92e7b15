//! That the harness finds what it is there to find: kernels with planted errors go through the same checks as the real
//! ones, and each check must refuse them and name what is wrong.
//!
//! `cargo test --release --test kernels finds` shows it; with `-- --nocapture` each message is printed.

use crate::harness::Case;
use crate::harness::checks::{self, Check};
use crate::harness::nan;
use crate::harness::recipe::normal;
use libtest_mimic::{Failed, Trial};
use wgrec::graph::Var;
use wgrec::kernels::strided::Pad;
use wgrec::kernels::{Args, Caps, Grads, Grid, Launch, NodeView, Op, Operands, Real, Shapes};
use wgrec::{Result, twin};

/// `y[i] = x[i] + x[i - 64]`, the second only from element 64 of each block of 256 on.
#[derive(Debug, Clone, Copy, Default)]
struct AddBefore {
    planted: Planted,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Planted {
    #[default]
    Nothing,
    /// The gradient's second part has the wrong sign.
    Gradient,
    /// The fast form adds a little too much.
    FastForm,
    /// Invocations read what lower ones write, without waiting for them.
    Barrier,
    /// One element is written past the last.
    Beyond,
    /// The last element is not written.
    Unwritten,
    /// The second part has the wrong sign on the GPU.
    Sign,
    /// A NaN becomes 0 in the twin.
    LostNan,
    /// A NaN becomes 0 on the GPU.
    LostNanOnGpu,
}

const BLOCK: usize = 256;

const SHADER: &str = "
//!import index
//!import math
var<immediate> n: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
var<workgroup> block: array<f32, 256>;

@compute @workgroup_size(256)
fn forward(grid: Grid, me: Invocation) {
    let local = local_index(me, 256u);
    let i = group_index(grid) * 256u + local;
    block[local] = x[i];
    BARRIER
    var sum = block[local];
    if local >= 64u { sum = sum SIGN block[local - 64u]; }
    if i < n { y[i] = RESULT; }
    BEYOND
}
";

impl AddBefore {
    fn twin<T: Real>(&self, a: &Args<T>) {
        self.add(a, T::ONE)
    }

    fn add<T: Real>(&self, a: &Args<T>, factor: T) {
        for (x, y) in a.f("x").chunks(BLOCK).zip(a.out("y").chunks_mut(BLOCK)) {
            for i in 0..BLOCK {
                y[i] = x[i] + if i < 64 { T::ZERO } else { factor * x[i - 64] };
                if self.planted == Planted::LostNan && y[i].is_nan() {
                    y[i] = T::ZERO;
                }
            }
        }
    }

    fn shader(&self) -> String {
        let is = |planted| self.planted == planted;
        SHADER
            .replace("BARRIER", if is(Planted::Barrier) { "" } else { "workgroupBarrier();" })
            .replace("SIGN", if is(Planted::Sign) { "-" } else { "+" })
            .replace("RESULT", if is(Planted::LostNanOnGpu) { "select(sum, 0.0, is_nan(sum))" } else { "sum" })
            .replace("BEYOND", if is(Planted::Beyond) { "if i == n - 1u { y[n] = 1.0; }" } else { "" })
    }
}

impl Op for AddBefore {
    fn name(&self) -> &'static str {
        "add before"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "n").out_f32("y", "n")
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let (dy, n) = (node.dy("y"), node.input("x").shape()[0]);
        let later: Var = dy.reshape([n / BLOCK, 4, 64]).slice(1, 1, 3);
        let later = dy.graph().push(Pad { axis: 1, start: 0, extent: 4 }, &[later]).reshape([n]);
        let dx = if self.planted == Planted::Gradient { dy - later } else { dy + later };
        Ok(Grads::to([("x", dx)]))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let planted = self.planted == Planted::FastForm;
        if planted {
            self.add(a, 1.001);
        }
        planted
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let n = s.output("y").elements();
        let written = n - (self.planted == Planted::Unwritten) as usize;
        let launch = Launch::generated(self.shader(), "forward").params(written as u32);
        Ok(vec![launch.grid(Grid::threads(n, BLOCK, caps)?)])
    }
}

fn case(planted: Planted) -> Case {
    Case::new(format!("{planted:?}")).input(normal([3 * BLOCK])).op(move |g, x| {
        // Larger values before and after, whose memory the kernel's output shares in a plan with reuse.
        let wide = x[0].expand([4, 3 * BLOCK]).sin().sum(0);
        g.push(AddBefore { planted }, &[wide]).square()
    })
}

pub fn trials() -> Vec<Trial> {
    let all: [(&str, Planted, Check, &str); 8] = [
        ("a_wrong_sign_in_a_gradient", Planted::Gradient, checks::gradient, "the rule gives"),
        ("a_fast_form_that_is_off", Planted::FastForm, checks::cpu, "fast form: output 0"),
        // A software driver runs invocations in order, and shows it in reverse alone; hardware may show it at once.
        ("a_missing_barrier_before_a_read_from_a_lower_invocation", Planted::Barrier, checks::gpu, "gpu"),
        ("a_write_past_a_value_in_a_reused_buffer", Planted::Beyond, checks::gpu, "past the end"),
        ("an_element_that_is_not_written", Planted::Unwritten, checks::gpu, "NaN"),
        ("a_wrong_sign_in_a_shader", Planted::Sign, checks::gpu, "gpu: output 0"),
        ("a_twin_that_loses_a_nan", Planted::LostNan, nan::check, "twin in f64, NaN in operand 0"),
        ("a_shader_that_loses_a_nan", Planted::LostNanOnGpu, nan::check, "gpu, NaN in operand 0"),
    ];
    let finds = |(name, planted, check, text): (&str, Planted, Check, &'static str)| {
        Trial::test(format!("finds::{name}"), move || finds(planted, check, text))
    };
    let sound = Trial::test("finds::nothing_in_the_sound_kernel", || {
        let case = case(Planted::Nothing);
        [checks::gradient, checks::cpu, checks::repeat, checks::gpu, nan::check]
            .iter()
            .try_for_each(|check: &Check| check(&case))
    });
    all.into_iter().map(finds).chain([sound]).collect()
}

fn finds(planted: Planted, check: Check, text: &str) -> Result<(), Failed> {
    match check(&case(planted)) {
        Ok(()) => Err(format!("the harness found nothing wrong with {planted:?}").into()),
        Err(e) => match e.message() {
            Some(message) if message.contains(text) => {
                println!("{planted:?}: {message}");
                Ok(())
            }
            other => Err(format!("found something else than {text:?}: {other:?}").into()),
        },
    }
}
